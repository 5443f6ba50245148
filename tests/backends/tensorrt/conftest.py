"""The simulated GPU: every test must leave nothing on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.contract import Artifact, Segment
from tests.simulator import Driver

Convert = Callable[..., tuple[Artifact, Path]]


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
def convert(driver, tmp_path) -> Convert:
    """Converts a segment with options; the artifact and the folder of its files."""

    def make(segment: Segment, **options: object) -> tuple[Artifact, Path]:
        from backends.tensorrt import Options
        from backends.tensorrt.convert import convert as build

        out = tmp_path / f"{segment.name}.out"
        out.mkdir(exist_ok=True)
        return build(segment, Options(**options), out), out

    return make


def noise(segment: Segment, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {s.name: rng.standard_normal(s.typical).astype(s.dtype) for s in segment.inputs}
