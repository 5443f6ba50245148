"""The tensors of one call of a chain, each where it was made, and copied only where it must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backends.contract import Array, Runner, Tensors
from backends.device import DeviceRunner, DeviceStream, DeviceTensor

Streams = Mapping[str, DeviceStream | None]


class DeviceValue(NamedTuple):
    """A tensor on a device, and the runner that holds its memory."""

    runner: DeviceRunner
    tensor: DeviceTensor


class StepInput(NamedTuple):
    """A tensor as a step takes it.

    Attributes:
        name: of the tensor.
        key: under which its value is: the name, or that of a copy in another dtype.
        dtype: of that copy, where it is one.
    """

    name: str
    key: str
    dtype: str | None


class TensorStore:
    """Tensors by name: on the host, on a device, or on both."""

    def __init__(self, inputs: Tensors, streams: Streams) -> None:
        self._host = dict(inputs)
        self._device: dict[str, DeviceValue] = {}
        self._streams = streams
        self._copies: dict[str, list[str]] = {}

    def run(self, taken: Sequence[StepInput], runner: Runner) -> None:
        """Run a step from and to the host."""
        arrays = self.on_host([one.key for one in taken])
        self._host |= runner({one.name: arrays[one.key] for one in taken})

    def run_there(self, taken: Sequence[StepInput], runner: DeviceRunner) -> None:
        """Run a step on its device; what is there already is not copied."""
        stream = self._streams[runner.device]
        away = {one.name: one.key for one in taken if not self._is_at(one.key, runner.device)}
        if away:
            arrays = self.on_host(list(away.values()))
            sent = runner.upload({name: arrays[key] for name, key in away.items()}, stream)
            self._lend(runner, {away[name]: tensor for name, tensor in sent.items()})
        tensors = {one.name: self._device[one.key].tensor for one in taken}
        self._lend(runner, runner.run(tensors, stream))

    def convert(self, taken: Sequence[StepInput]) -> None:
        """Make the copies in other dtypes that a step takes, on the host, and each once."""
        for name, key, dtype in taken:
            if dtype is not None and key not in self._host and key not in self._device:
                self._host[key] = self.on_host([name])[name].astype(dtype)
                self._copies.setdefault(name, []).append(key)

    def put(self, tensors: Tensors) -> None:
        """Have these arrays."""
        self._host |= tensors

    def is_empty(self, names: Sequence[str]) -> bool:
        """Whether one of the tensors has no element."""
        return any(0 in shape for shape in self.shapes(names).values())

    def shapes(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The sizes of the tensors, wherever they are."""
        return {
            name: self._host[name].shape if name in self._host else self._device[name].tensor.shape
            for name in names
        }

    def on_host(self, names: Sequence[str]) -> dict[str, Array]:
        """The tensors as arrays; those of one runner come over together, and once."""
        missing = [name for name in names if name not in self._host]
        for runner in {self._device[name].runner for name in missing}:
            lent = {
                name: self._device[name].tensor
                for name in missing
                if self._device[name].runner is runner
            }
            self._host |= runner.download(lent, self._streams[runner.device])
        return {name: self._host[name] for name in names}

    def drop(self, names: Iterable[str]) -> None:
        """Free arrays that nothing needs any more; of those on a device, work may be queued."""
        for name in names:
            for key in (name, *self._copies.get(name, ())):
                self._host.pop(key, None)

    def _is_at(self, name: str, device: str) -> bool:
        return name in self._device and self._device[name].tensor.device == device

    def _lend(self, runner: DeviceRunner, tensors: Mapping[str, DeviceTensor]) -> None:
        self._device |= {name: DeviceValue(runner, tensor) for name, tensor in tensors.items()}


def streams_of(runners: Iterable[DeviceRunner]) -> dict[str, DeviceStream | None]:
    """This thread's stream for each device: that of the first runner that has one."""
    streams: dict[str, DeviceStream | None] = {}
    for runner in runners:
        if streams.get(runner.device) is None:
            streams[runner.device] = runner.stream()
    return streams
