"""The tensors of one call of a chain: each where it was computed, copied only where needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backends.contract import Array, Runner, Tensors
from backends.device import DeviceRunner, DeviceStream, DeviceTensor

Streams = Mapping[str, DeviceStream | None]
"""By device, the stream of this thread; None where the engine lets nobody choose one."""


class DeviceValue(NamedTuple):
    """A tensor on a device, and the runner that holds its memory."""

    runner: DeviceRunner
    tensor: DeviceTensor


class StepInput(NamedTuple):
    """An input of a step.

    Attributes:
        name: of the tensor.
        key: under which the store has its value: the name, or that of a copy in another dtype.
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

    def run(self, inputs: Sequence[StepInput], runner: Runner) -> None:
        """Run a step from and to the host."""
        arrays = self.on_host([tensor.key for tensor in inputs])
        self._host |= runner({tensor.name: arrays[tensor.key] for tensor in inputs})

    def run_on_device(self, inputs: Sequence[StepInput], runner: DeviceRunner) -> None:
        """Run a step on its device; tensors that are there already are not copied."""
        stream = self._streams[runner.device]
        missing = {
            tensor.name: tensor.key
            for tensor in inputs
            if not self._is_at(tensor.key, runner.device)
        }
        if missing:
            arrays = self.on_host(list(missing.values()))
            uploaded = runner.upload({name: arrays[key] for name, key in missing.items()}, stream)
            self._hold(runner, {missing[name]: tensor for name, tensor in uploaded.items()})
        tensors = {tensor.name: self._device[tensor.key].tensor for tensor in inputs}
        self._hold(runner, runner.run(tensors, stream))

    def convert(self, inputs: Sequence[StepInput]) -> None:
        """Make the copies in other dtypes that a step takes, on the host, and each once."""
        for name, key, dtype in inputs:
            if dtype is not None and key not in self._host and key not in self._device:
                self._host[key] = self.on_host([name])[name].astype(dtype)
                self._copies.setdefault(name, []).append(key)

    def put(self, tensors: Tensors) -> None:
        """Add arrays on the host."""
        self._host |= tensors

    def shapes(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors, wherever they are."""
        return {
            name: self._host[name].shape if name in self._host else self._device[name].tensor.shape
            for name in names
        }

    def on_host(self, names: Sequence[str]) -> dict[str, Array]:
        """The tensors as arrays; those of one runner are downloaded together, and once."""
        missing = [name for name in names if name not in self._host]
        for runner in {self._device[name].runner for name in missing}:
            tensors = {
                name: self._device[name].tensor
                for name in missing
                if self._device[name].runner is runner
            }
            self._host |= runner.download(tensors, self._streams[runner.device])
        return {name: self._host[name] for name in names}

    def drop(self, names: Iterable[str]) -> None:
        """Free arrays after their last use; tensors on a device stay, as work may be queued."""
        for name in names:
            for key in (name, *self._copies.get(name, ())):
                self._host.pop(key, None)

    def _is_at(self, key: str, device: str) -> bool:
        return key in self._device and self._device[key].tensor.device == device

    def _hold(self, runner: DeviceRunner, tensors: Mapping[str, DeviceTensor]) -> None:
        self._device |= {key: DeviceValue(runner, tensor) for key, tensor in tensors.items()}


def streams_of(runners: Iterable[DeviceRunner]) -> dict[str, DeviceStream | None]:
    """This thread's stream for each device: that of the first runner that has one."""
    streams: dict[str, DeviceStream | None] = {}
    for runner in runners:
        if streams.get(runner.device) is None:
            streams[runner.device] = runner.stream()
    return streams
