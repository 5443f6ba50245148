"""Who is inside a chain, so that it is closed behind the last."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Condition
from typing import NamedTuple, Self

from backends.contract import (
    Array,
    Artifact,
    DeployError,
    EngineError,
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


class Gate:
    """Lets calls in until it is shut, which is done when the last of them is out."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._is_shut = False

    def shut(self) -> None:
        """Let nobody in from now on, and wait until nobody is inside."""
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: self._inside == 0)

    def __enter__(self) -> None:
        with self._changed:
            if self._is_shut:
                raise EngineError("the chain is closed", do="Call it inside its 'with' block.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._is_shut:
                self._changed.notify_all()


_FLOATS = {"float16", "float32"}


Ready = tuple[Step, Runner]


class Chain:
    """Engine and host steps wired by tensor name; a context manager that holds the engines.

    Tensors between neighbours on one device stay there. Several threads may call a chain; closing
    it waits for the calls that have begun, so that no engine goes while it runs.

    Attributes:
        steps: each step and its runner, in data-flow order.
        called: engine steps that host steps run.
    """

    def __init__(
        self,
        steps: Sequence[Ready],
        inputs: Specs,
        outputs: Specs,
        called: Sequence[tuple[Artifact, Runner]] = (),
    ) -> None:
        self.steps = steps
        self.called = called
        self._inputs = inputs
        self._names = [spec.name for spec in inputs]
        self._outputs = [spec.name for spec in outputs]
        dead = last_uses([step for step, _ in steps], self._outputs)
        dtypes = _dtypes([step for step, _ in steps], inputs)
        self._links = [
            _link(step, runner, names, dtypes)
            for (step, runner), names in zip(steps, dead, strict=True)
        ]
        self._device_runners = [link.there for link in self._links if link.there is not None]
        self._stack = ExitStack()
        self._gate = Gate()

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run every step.

        Args:
            inputs: each of the chain's inputs, in its dtype and shape.

        Raises:
            TensorError: an input is missing, unknown, or of another dtype or shape.
            EngineError: the chain is closed, or an engine step failed; it is named, and the chain
                stays usable.
            HostStepError: a host step failed; likewise.
        """
        with self._gate:
            return self._run(inputs, None)

    def timed(self, inputs: Tensors, seconds: dict[str, float]) -> dict[str, Array]:
        """Run every step and put the seconds that each took into ``seconds``.

        A device is waited for after each of its steps, which a plain call does not do.
        """
        with self._gate:
            return self._run(inputs, seconds)

    def _run(self, inputs: Tensors, seconds: dict[str, float] | None) -> dict[str, Array]:
        streams = streams_of(self._device_runners)
        values = self._begun(inputs, streams)
        for link in self._links:
            start = time.perf_counter()
            _named_step(link, values, None if seconds is None else streams)
            if seconds is not None:
                seconds[link.name] = time.perf_counter() - start
            values.drop(link.dead)
        return values.on_host(self._outputs)

    def _begun(self, inputs: Tensors, streams: Streams) -> TensorStore:
        arrays = check_inputs(self._inputs, inputs)
        return TensorStore(dict(zip(self._names, arrays, strict=True)), streams)

    def stages(self) -> list[StreamStage]:
        """What a call does in parts, for ``stream``: inputs into the first, outputs from the last.

        Tensors on a device belong to one thread's stream, so that a chain with one is one part.
        """
        if self._device_runners or len(self._links) < 2:
            return [self]
        parts: list[StreamStage] = [partial(self._part, link) for link in self._links]
        first, last = parts[0], parts[-1]
        parts[0] = lambda inputs: first(self._begun(inputs, {}))
        parts[-1] = lambda values: last(values).on_host(self._outputs)
        return parts

    def _part(self, link: _Link, values: TensorStore) -> TensorStore:
        with self._gate:
            _named_step(link, values, None)
        values.drop(link.dead)
        return values

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _, runner in (*self.steps, *self.called):
                stack.enter_context(runner)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.shut()
        self._stack.close()


class _Link(NamedTuple):
    """A step as a call needs it."""

    name: str
    inputs: list[str]
    taken: list[StepInput]
    runner: Runner
    there: DeviceRunner | None
    dead: list[str]
    maybe_empty: Artifact | None
    converts: bool


def _link(step: Step, runner: Runner, dead: list[str], dtypes: Mapping[str, str]) -> _Link:
    taken = [_taken(spec, dtypes[spec.name]) for spec in step.inputs]
    return _Link(
        name=step.name,
        inputs=[one.name for one in taken],
        taken=taken,
        runner=runner,
        there=runner if isinstance(runner, DeviceRunner) else None,
        dead=dead,
        maybe_empty=step if isinstance(step, Artifact) and may_be_empty(step) else None,
        converts=any(one.dtype is not None for one in taken),
    )


def _taken(spec: TensorSpec, made: str) -> StepInput:
    """Engines of different precisions may meet; anything else is the runner's to refuse."""
    if spec.dtype == made or {spec.dtype, made} - _FLOATS:
        return StepInput(spec.name, spec.name, None)
    return StepInput(spec.name, f"{spec.name} as {spec.dtype}", spec.dtype)


def _dtypes(steps: Sequence[Step], inputs: Specs) -> dict[str, str]:
    made = [spec for step in steps for spec in step.outputs]
    return {spec.name: spec.dtype for spec in (*inputs, *made)}


def _named_step(link: _Link, values: TensorStore, waited_for: Streams | None) -> None:
    """Run a step; where there are streams to wait for, until its work is done."""
    try:
        _step(link, values)
        if waited_for is not None:
            _settle(link, waited_for)
    except Exception as error:  # whatever it is, the step is to be named
        raise _named(link.name, error) from error


def _step(link: _Link, values: TensorStore) -> None:
    if link.maybe_empty is not None and values.is_empty(link.inputs):
        values.put(empty_outputs(link.maybe_empty, values.shapes(link.inputs)))
        return
    if link.converts:
        values.convert(link.taken)
    if link.there is None:
        values.run(link.taken, link.runner)
    else:
        values.run_there(link.taken, link.there)


def _settle(link: _Link, streams: Streams) -> None:
    """Wait until a step's work on its device is done."""
    stream = streams.get(link.there.device) if link.there is not None else None
    if stream is not None:
        stream.synchronize()


def _named(step: str, error: Exception) -> DeployError:
    """The error with the name of its step: an engine's stays one, all else is of the host.

    What is no error of ours can only be an engine's: host steps report theirs.
    """
    if not isinstance(error, DeployError):
        return EngineError(f"step '{step}': {type(error).__name__}: {error}")
    kind = EngineError if isinstance(error, EngineError) else HostStepError
    return kind(f"step '{step}': {error}")
