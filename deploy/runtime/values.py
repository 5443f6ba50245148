"""The tensors of one call of a chain, each where it was made, and copied only where it must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backends.contract import (
    Array,
    DeviceRunner,
    DeviceStream,
    DeviceTensor,
    Runner,
    Tensors,
)

Streams = Mapping[str, DeviceStream | None]


class Lent(NamedTuple):
    """A tensor on a device, and the runner that holds its memory."""

    runner: DeviceRunner
    tensor: DeviceTensor


class Values:
    """Tensors by name: on the host, on a device, or on both."""

    def __init__(self, inputs: Tensors, streams: Streams) -> None:
        self._host = dict(inputs)
        self._device: dict[str, Lent] = {}
        self._streams = streams

    def run(self, names: Sequence[str], runner: Runner) -> None:
        """Run a step that takes arrays of these names."""
        self._host |= runner(self.on_host(names))

    def run_there(self, names: Sequence[str], runner: DeviceRunner) -> None:
        """Run a step on its device; what is there already is not copied."""
        stream = self._streams[runner.place]
        away = [name for name in names if not self._is_at(name, runner.place)]
        if away:
            self._lend(runner, runner.upload(self.on_host(away), stream))
        tensors = {name: self._device[name].tensor for name in names}
        self._lend(runner, runner.run(tensors, stream))

    def on_host(self, names: Sequence[str]) -> dict[str, Array]:
        """The tensors as arrays; those of one runner come over together, and once."""
        missing = [name for name in names if name not in self._host]
        for runner in {self._device[name].runner for name in missing}:
            lent = {
                name: self._device[name].tensor
                for name in missing
                if self._device[name].runner is runner
            }
            self._host |= runner.download(lent, self._streams[runner.place])
        return {name: self._host[name] for name in names}

    def drop(self, names: Iterable[str]) -> None:
        """Free arrays that nothing needs any more; of those on a device, work may be queued."""
        for name in names:
            self._host.pop(name, None)

    def _is_at(self, name: str, place: str) -> bool:
        return name in self._device and self._device[name].tensor.place == place

    def _lend(self, runner: DeviceRunner, tensors: Mapping[str, DeviceTensor]) -> None:
        self._device |= {name: Lent(runner, tensor) for name, tensor in tensors.items()}


def streams_of(runners: Iterable[DeviceRunner]) -> dict[str, DeviceStream | None]:
    """This thread's stream for each place: that of the first runner that has one."""
    streams: dict[str, DeviceStream | None] = {}
    for runner in runners:
        if streams.get(runner.place) is None:
            streams[runner.place] = runner.stream()
    return streams
