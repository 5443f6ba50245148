"""The chain of a bundle: engine and host steps, run in data-flow order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Condition
from typing import NamedTuple, Self

from backends.contract import (
    Array,
    Artifact,
    DeployError,
    EngineError,
    NotedRunner,
    Runner,
    Specs,
    Tensors,
    TensorSpec,
    check_inputs,
)
from backends.device import DeviceRunner
from deploy.runtime.execution.empty_batch import empty_outputs, may_be_empty
from deploy.runtime.execution.host_steps import HostStepError
from deploy.runtime.execution.schedule import Step, last_uses
from deploy.runtime.execution.streaming import StreamStage
from deploy.runtime.execution.tensor_store import StepInput, Streams, TensorStore, streams_of

_FLOATS = {"float16", "float32"}


class Chain:
    """Engine and host steps wired by tensor name; a context manager that holds the engines.

    Tensors between neighbours on one device stay there. Several threads may call a chain; closing
    it waits for the calls that have begun, so that no engine is freed while it runs.

    Attributes:
        steps: each step and its runner, in data-flow order.
        called: engine steps that host steps run, and their runners.

    Args:
        steps: each step and its runner, in data-flow order.
        inputs: of the chain.
        outputs: of the chain.
        called: engine steps that host steps run, and their runners.
        on_step: called with what a call begins now, such as ``step 'head'``.
    """

    def __init__(
        self,
        steps: Sequence[tuple[Step, Runner]],
        inputs: Specs,
        outputs: Specs,
        called: Sequence[tuple[Artifact, Runner]] = (),
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self.steps = steps
        self.called = called
        self._inputs = inputs
        self._input_names = [spec.name for spec in inputs]
        self._outputs = [spec.name for spec in outputs]
        self._plan = _plan(steps, inputs, self._outputs)
        runners = [step.device_runner for step in self._plan]
        self._device_runners = [runner for runner in runners if runner is not None]
        self._on_step = on_step
        self._engines = ExitStack()
        self._active_calls = _ActiveCalls()

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run every step.

        Args:
            inputs: each of the chain's inputs, in its dtype and shape.

        Returns:
            The chain's outputs by name, on the host.

        Raises:
            TensorError: an input is missing, unknown, or of another dtype or shape.
            EngineError: the chain is closed, or an engine step failed; it is named, and the chain
                stays usable.
            HostStepError: a host step failed; likewise.
        """
        with self._active_calls:
            return self._run(inputs, None)

    def timed(self, inputs: Tensors, seconds: dict[str, float]) -> dict[str, Array]:
        """Run every step and put the seconds that each took into ``seconds``.

        The device is synchronized after each of its steps, which a plain call does not do.
        """
        with self._active_calls:
            return self._run(inputs, seconds)

    def notes(self) -> list[str]:
        """What the engines tell of how they run here, each line with its step's name."""
        return [
            f"{step.name}: {runner.note}"
            for step, runner in (*self.steps, *self.called)
            if isinstance(runner, NotedRunner) and runner.note
        ]

    def _run(self, inputs: Tensors, seconds: dict[str, float] | None) -> dict[str, Array]:
        streams = streams_of(self._device_runners)
        tensors = self._tensor_store(inputs, streams)
        for step in self._plan:
            start = time.perf_counter()
            if self._on_step is not None:
                self._on_step(f"step '{step.name}'")
            _run_step(step, tensors, None if seconds is None else streams)
            if seconds is not None:
                seconds[step.name] = time.perf_counter() - start
            tensors.drop(step.last_uses)
        return tensors.on_host(self._outputs)

    def _tensor_store(self, inputs: Tensors, streams: Streams) -> TensorStore:
        arrays = check_inputs(self._inputs, inputs)
        return TensorStore(dict(zip(self._input_names, arrays, strict=True)), streams)

    def stages(self) -> list[StreamStage]:
        """A call in stages, for ``stream``: the first takes the inputs, the last returns outputs.

        Tensors on a device belong to one thread's stream, so a chain with a device is one stage.
        """
        if self._device_runners or len(self._plan) < 2:
            return [self]
        stages: list[StreamStage] = [partial(self._run_stage, step) for step in self._plan]
        first, last = stages[0], stages[-1]
        stages[0] = lambda inputs: first(self._tensor_store(inputs, {}))
        stages[-1] = lambda tensors: last(tensors).on_host(self._outputs)
        return stages

    def _run_stage(self, step: _PlannedStep, tensors: TensorStore) -> TensorStore:
        with self._active_calls:
            _run_step(step, tensors, None)
        tensors.drop(step.last_uses)
        return tensors

    def __enter__(self) -> Self:
        with ExitStack() as engines:
            for _, runner in (*self.steps, *self.called):
                engines.enter_context(runner)
            self._engines = engines.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._active_calls.close()
        self._engines.close()


class _ActiveCalls:
    """Counts the calls in progress; closing refuses new ones and waits for the last of them."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0
        self._closed = False

    def close(self) -> None:
        """Refuse calls from now on, and wait until none is in progress."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._count == 0)

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise EngineError("the chain is closed", do="Call it inside its 'with' block.")
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            if self._closed:
                self._changed.notify_all()


class _PlannedStep(NamedTuple):
    """What a call needs to know of a step, computed once for each chain.

    Attributes:
        name: of the step.
        inputs: its inputs, and the dtype in which it takes each.
        runner: runs it from and to the host.
        device_runner: the runner again, where it takes tensors in a device's memory.
        last_uses: the tensors that no step needs after it.
        maybe_empty: the step, where a batch of 0 may reach it.
        converts: whether an input has to be converted to another dtype.
    """

    name: str
    inputs: Sequence[StepInput]
    runner: Runner
    device_runner: DeviceRunner | None
    last_uses: Sequence[str]
    maybe_empty: Artifact | None
    converts: bool


def _plan(
    steps: Sequence[tuple[Step, Runner]], inputs: Specs, outputs: Sequence[str]
) -> list[_PlannedStep]:
    order = [step for step, _ in steps]
    produced = (*inputs, *(spec for step in order for spec in step.outputs))
    dtypes = {spec.name: spec.dtype for spec in produced}
    uses = last_uses(order, outputs)
    return [
        _planned_step(step, runner, names, dtypes)
        for (step, runner), names in zip(steps, uses, strict=True)
    ]


def _planned_step(
    step: Step, runner: Runner, uses: Sequence[str], dtypes: Mapping[str, str]
) -> _PlannedStep:
    inputs = [_step_input(spec, dtypes[spec.name]) for spec in step.inputs]
    return _PlannedStep(
        name=step.name,
        inputs=inputs,
        runner=runner,
        device_runner=runner if isinstance(runner, DeviceRunner) else None,
        last_uses=uses,
        maybe_empty=step if isinstance(step, Artifact) and may_be_empty(step) else None,
        converts=any(tensor.dtype is not None for tensor in inputs),
    )


def _step_input(spec: TensorSpec, produced: str) -> StepInput:
    """An input, converted where neighbours differ in precision; the runner refuses other dtypes."""
    if spec.dtype == produced or {spec.dtype, produced} - _FLOATS:
        return StepInput(spec.name, spec.name, None)
    return StepInput(spec.name, f"{spec.name} as {spec.dtype}", spec.dtype)


def _run_step(step: _PlannedStep, tensors: TensorStore, synchronized: Streams | None) -> None:
    """Run a step; with streams, wait until its work on its device is done."""
    try:
        _compute(step, tensors)
        if synchronized is not None:
            _synchronize(step, synchronized)
    except Exception as error:  # whatever it is, the step is to be named
        raise with_step_name(step.name, error) from error


def _compute(step: _PlannedStep, tensors: TensorStore) -> None:
    if step.maybe_empty is not None:
        shapes = tensors.shapes([tensor.name for tensor in step.inputs])
        if any(0 in shape for shape in shapes.values()):
            tensors.put(empty_outputs(step.maybe_empty, shapes))
            return
    if step.converts:
        tensors.convert(step.inputs)
    if step.device_runner is None:
        tensors.run(step.inputs, step.runner)
    else:
        tensors.run_on_device(step.inputs, step.device_runner)


def _synchronize(step: _PlannedStep, streams: Streams) -> None:
    stream = streams.get(step.device_runner.device) if step.device_runner is not None else None
    if stream is not None:
        stream.synchronize()


def with_step_name(step: str, error: Exception) -> DeployError:
    """The error with the name of its step: an engine's error stays one, others are the host's.

    An exception that is no DeployError can only be an engine's: host steps wrap theirs.
    """
    if not isinstance(error, DeployError):
        return EngineError(f"step '{step}': {type(error).__name__}: {error}")
    kind = EngineError if isinstance(error, EngineError) else HostStepError
    return kind(f"step '{step}': {error}")
