"""What the tests of the double of TensorRT share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.engines import device, listener


@pytest.fixture
def on_gpu() -> Iterator[None]:
    """The first device is current; nothing may be left in it."""
    with device():
        yield


@pytest.fixture
def log():
    """A listener to what TensorRT says."""
    return listener()
