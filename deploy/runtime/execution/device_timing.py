"""How long each engine runs, by its device's own clock."""

from __future__ import annotations

from backends.contract import Tensors
from backends.device import DeviceRunner
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.tensor_store import streams_of

_WARM_UP = 5


def event_times(chain: Chain, inputs: Tensors, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each step that is on a device and works in a stream.

    Copies are not in them. A step gets what the chain really gives it.

    Args:
        chain: an open chain.
        inputs: its inputs.
        runs: how many are measured, after a few that are not.
    """
    values = dict(inputs)
    times: dict[str, list[float]] = {}
    for step, runner in chain.steps:
        taken = {spec.name: values[spec.name] for spec in step.inputs}
        if isinstance(runner, DeviceRunner):
            times[step.name] = _times(runner, taken, runs)
        values |= runner(taken)
    return {name: seconds for name, seconds in times.items() if seconds}


def _times(runner: DeviceRunner, inputs: Tensors, runs: int) -> list[float]:
    stream = streams_of([runner])[runner.device]
    if stream is None:
        return []
    there = runner.upload(inputs, stream)
    seconds = []
    for _ in range(_WARM_UP + runs):
        start = stream.record_event()
        runner.run(there, stream)
        end = stream.record_event()
        stream.synchronize()
        seconds.append(end.seconds_since(start))
    return seconds[_WARM_UP:]
