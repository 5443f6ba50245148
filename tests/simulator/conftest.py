"""What the tests of the simulator share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator import Driver
from tests.simulator.engines import device, listener


@pytest.fixture
def on_gpu() -> Iterator[None]:
    """The first device is current; nothing may be left in it."""
    with device():
        yield


@pytest.fixture
def simulated_driver() -> Driver:
    """The controls of the simulated driver."""
    return Driver()


@pytest.fixture
def log():
    """A listener to what TensorRT says."""
    return listener()
