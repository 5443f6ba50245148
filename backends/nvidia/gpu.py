"""A GPU's primary context, which other CUDA libraries share, its streams and tensor buffers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pycuda.driver as drv

from backends.contract import Array, EngineError
from backends.nvidia import cuda

_NON_BLOCKING = 1  # a stream that does not wait for work in the default stream


class Gpu:
    """One GPU; holds its primary context until it is closed.

    Attributes:
        number: of the GPU.
        device: its name in the contract, such as ``cuda:0``.
        name: such as ``NVIDIA H200``.
        capability: the compute capability, such as ``9.0``.
        cuda: the version of CUDA that the driver supports, such as ``13.0``.
    """

    def __init__(self, number: int) -> None:
        """Raises ``EngineError`` where there is no such GPU."""
        with cuda_errors("CUDA does not start"):
            drv.init()
            count = drv.Device.count()
            if number >= count:
                raise EngineError(
                    f"device {number}", expected=f"a GPU from 0 to {count - 1}", got="none"
                )
            gpu = drv.Device(number)
            self.number, self.device = number, f"cuda:{number}"
            self.name: str = gpu.name()
            self.capability = ".".join(map(str, gpu.compute_capability()))
            self.cuda = "{}.{}".format(*_version(drv.get_driver_version()))
            self._context = gpu.retain_primary_context()
        self._thread = threading.get_ident()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make its context the current one of this thread."""
        self._context.push()
        try:
            yield
        finally:
            drv.Context.pop()

    def close(self) -> None:
        """Release the context; everything in it must be freed before."""
        self._context.detach()
        # pycuda leaves a primary context on the stack of the thread that retained it, and releases
        # it in no other thread
        if threading.get_ident() == self._thread:
            cuda.pop_context()
        else:
            cuda.release_primary_context(self.number)


class Stream:
    """A stream of a GPU, usable under any current context; see ``DeviceStream``.

    Attributes:
        gpu: that runs it.
        raw: pycuda's stream.
    """

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        with gpu.active(), cuda_errors("cannot create a stream"):
            self.raw = drv.Stream(_NON_BLOCKING)

    @property
    def handle(self) -> int:
        """CUDA's handle of it."""
        return int(self.raw.handle)

    def synchronize(self) -> None:
        """Block this thread until its work is done."""
        with self.gpu.active(), cuda_errors("the GPU failed"):
            self.raw.synchronize()

    def record_event(self) -> Event:
        """See ``DeviceStream``."""
        return Event(self)


class Event:
    """A point in a stream; see ``DeviceEvent``."""

    def __init__(self, stream: Stream) -> None:
        self._gpu = stream.gpu
        with self._gpu.active(), cuda_errors("cannot record an event"):
            self._raw = drv.Event().record(stream.raw)

    def seconds_since(self, earlier: Event) -> float:
        """The time between both, by the GPU's clock."""
        with self._gpu.active(), cuda_errors("cannot read an event"):
            return float(self._raw.time_since(earlier._raw)) / 1e3


class TensorBuffers:
    """A tensor's buffer on the GPU and its page-locked buffer on the host; both only grow.

    To be used while the GPU's context is active.
    """

    def __init__(self) -> None:
        self._device: drv.DeviceAllocation | None = None
        self._device_bytes = 0
        self._host: Array | None = None
        self._host_allocation: drv.HostAllocation | None = None

    def device(self, size: int) -> int:
        """The address of at least ``size`` bytes on the GPU.

        Raises:
            EngineError: the GPU's memory is too small; the earlier buffer is freed.
        """
        if self._device is None or size > self._device_bytes:
            self._free_device()
            with cuda_errors(f"cannot allocate {size:,} bytes on the GPU"):
                self._device = drv.mem_alloc(max(size, 1))
            self._device_bytes = size
        return int(self._device)

    def host(self, shape: tuple[int, ...], dtype: str) -> Array:
        """An array in page-locked memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self._host is None or size > self._host.nbytes:
            self._free_host()
            with cuda_errors(f"cannot lock {size:,} bytes of the host's memory"):
                self._host = drv.pagelocked_empty(max(size, 1), np.uint8)
                self._host_allocation = self._host.base
        view: Array = self._host[:size].view(dtype).reshape(shape)
        return view

    def close(self) -> None:
        """Free both."""
        self._free_device()
        self._free_host()

    def _free_device(self) -> None:
        if self._device is not None:
            self._device.free()
        self._device, self._device_bytes = None, 0

    def _free_host(self) -> None:
        if self._host_allocation is not None:
            self._host_allocation.free()
        self._host = self._host_allocation = None


def copy_to_gpu(pointer: int, array: Array, stream: Stream) -> None:
    """Copy an array in page-locked memory to the GPU, in the stream."""
    if array.nbytes:
        with cuda_errors("cannot copy to the GPU"):
            drv.memcpy_htod_async(pointer, array, stream.raw)


def copy_from_gpu(array: Array, pointer: int, stream: Stream) -> None:
    """Copy from the GPU into an array in page-locked memory, in the stream."""
    if array.nbytes:
        with cuda_errors("cannot copy from the GPU"):
            drv.memcpy_dtoh_async(array, pointer, stream.raw)


@contextmanager
def cuda_errors(what: str) -> Iterator[None]:
    """Raise pycuda's errors as ``EngineError``; ``what`` names the failed operation."""
    try:
        yield
    except drv.MemoryError as error:
        raise EngineError(
            f"{what}: out of device memory",
            do="Free some, or use smaller inputs or a smaller batch.",
        ) from error
    except drv.Error as error:
        raise EngineError(f"{what}: {error}") from error


def _version(number: int) -> tuple[int, int]:
    return number // 1000, number % 1000 // 10
