"""The interface of engines that keep tensors in device memory; other backends need none of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from backends.contract import Array, Runner, Tensors


class DeviceEvent(Protocol):
    """A point in a stream, which is reached when all earlier work is done."""

    def seconds_since(self, earlier: Self) -> float:
        """The time between two events that have been reached, by the device's clock."""
        ...


class DeviceStream(Protocol):
    """A queue of work on a device, such as a CUDA stream."""

    @property
    def handle(self) -> int:
        """The driver's handle of it."""
        ...

    def synchronize(self) -> None:
        """Block until all work in the stream is done.

        Raises:
            EngineError: some of it failed.
        """
        ...

    def record_event(self) -> DeviceEvent:
        """An event behind the work that is in the stream now."""
        ...


@dataclass(frozen=True)
class DeviceTensor:
    """A C-contiguous tensor in a device's memory, which its runner owns.

    It is valid until that runner is called again in the same thread.

    Attributes:
        device: where it is, such as ``cuda:0``.
        dtype: NumPy's name of it.
        shape: of the tensor.
        pointer: its address on the device.
        owner: an object that has to live as long as the memory is used.
    """

    device: str
    dtype: str
    shape: tuple[int, ...]
    pointer: int
    owner: object = None


DeviceTensors = Mapping[str, DeviceTensor]


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """A runner whose inputs and outputs can stay in a device's memory.

    Calling it is ``download(run(upload(inputs)))``. A chain leaves out the copies between two
    runners on one device. All work goes into the stream that the chain passes, one for each
    thread; without a stream each method returns when its work is done. Errors are those of a call.

    Attributes:
        device: such as ``cuda:0``.
    """

    device: str

    def stream(self) -> DeviceStream | None:
        """This thread's stream; None if the engine does not let a chain choose one."""
        ...

    def upload(self, inputs: Tensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """Copy some of the inputs to the device."""
        ...

    def run(self, inputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, DeviceTensor]:
        """Compute all outputs from all inputs."""
        ...

    def download(self, outputs: DeviceTensors, stream: DeviceStream | None) -> dict[str, Array]:
        """Copy some outputs of this runner to the host, into arrays that own their memory."""
        ...
