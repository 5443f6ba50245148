"""What the tests of the backends share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from backends import registry
from tests.simulator import Driver

BACKENDS = os.environ.get("DEPLOY_TEST_BACKENDS", ",".join(registry.names())).split(",")
TIME_LIMIT_SECONDS = 60


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    """The name of each backend under test."""
    return request.param


@pytest.fixture
def driver(monkeypatch, tmp_path) -> Iterator[Driver]:
    """The simulated driver; at the end of the test everything must be freed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    driver = Driver()
    before = driver.all_live()
    yield driver
    driver.forget_failures()
    assert driver.all_live() == before


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Interrupt a call that blocks, and fail the test."""

    def interrupt(*_: object) -> None:
        pytest.fail(f"this took {TIME_LIMIT_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(TIME_LIMIT_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
