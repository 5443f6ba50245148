"""What the tests of the simulator share."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.simulator import Driver, activate
from tests.simulator.driver_calls import cuda
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


@pytest.fixture(scope="module")
def drv() -> ModuleType:
    activate()
    import pycuda.driver

    pycuda.driver.init()
    return pycuda.driver


@pytest.fixture
def gpu(drv, simulated_driver) -> Iterator[None]:
    """The first device's primary context, current; nothing may be left in it."""
    context = drv.Device(0).retain_primary_context()
    context.push()
    lost = simulated_driver.count("lost")
    yield
    simulated_driver.forget_failures()
    gc.collect()
    drv.Context.pop()
    context.detach()
    cuda("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    assert simulated_driver.all_live() == {}
    assert simulated_driver.count("lost") == lost
