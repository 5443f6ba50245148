"""How long each engine runs, by its device's own clock."""

from __future__ import annotations

from backends.contract import Tensors, select_tensors
from backends.device import DeviceRunner
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.tensor_store import streams_of

_WARM_UP = 5


def event_times(chain: Chain, inputs: Tensors, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each step that works in a stream of a device; copies are left out.

    Args:
        chain: an open chain.
        inputs: its inputs.
        runs: how many runs are measured, after a warm-up.
    """
    tensors = dict(inputs)
    times: dict[str, list[float]] = {}
    for step, runner in chain.steps:
        step_inputs = select_tensors(step.inputs, tensors)
        if isinstance(runner, DeviceRunner):
            times[step.name] = _times(runner, step_inputs, runs)
        tensors |= runner(step_inputs)
    return {name: seconds for name, seconds in times.items() if seconds}


def _times(runner: DeviceRunner, inputs: Tensors, runs: int) -> list[float]:
    """Empty where the runner has no stream."""
    stream = streams_of([runner])[runner.device]
    if stream is None:
        return []
    uploaded = runner.upload(inputs, stream)
    seconds = []
    for _ in range(_WARM_UP + runs):
        start = stream.record_event()
        runner.run(uploaded, stream)
        end = stream.record_event()
        stream.synchronize()
        seconds.append(end.seconds_since(start))
    return seconds[_WARM_UP:]
