"""The words for tensors that stay in a device's memory; a backend without a device needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from backends.contract import Array, Runner, Tensors


class DeviceEvent(Protocol):
    """A moment in a stream: when all that was put into it before is done."""

    def seconds_since(self, earlier: Self) -> float:
        """The time between two moments that have passed, by the device's own clock."""
        ...


class DeviceStream(Protocol):
    """A queue of work on a device, such as a CUDA stream."""

    @property
    def handle(self) -> int:
        """The driver's own name of it."""
        ...

    def synchronize(self) -> None:
        """Block until everything in the queue is done.

        Raises:
            EngineError: some of it failed.
        """
        ...

    def mark(self) -> DeviceEvent:
        """The moment that the queue gets to here."""
        ...


@dataclass(frozen=True)
class DeviceTensor:
    """A C-contiguous tensor in a device's memory; lent, not given.

    It is valid until the runner that made it is called again in the same thread.

    Attributes:
        place: the device, such as ``cuda:0``.
        dtype: of NumPy.
        shape: its sizes.
        pointer: its address there.
        owner: whatever has to live as long as the memory.
    """

    place: str
    dtype: str
    shape: tuple[int, ...]
    pointer: int
    owner: object = None


DeviceTensors = Mapping[str, DeviceTensor]


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """A runner that can take and leave tensors in a device's memory.

    A call of it is ``download(run(upload(inputs)))``. A chain leaves out the copies between two
    runners of one place. All work goes into the stream that it passes, which is one for a thread;
    where there is none, each method returns when its work is done. Errors as of a call.

    Attributes:
        place: the device, such as ``cuda:0``.
    """

    place: str

    def stream(self) -> DeviceStream | None:
        """This thread's stream, if the engine lets a chain choose one."""
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
