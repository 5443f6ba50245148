"""Tensors in, tensors out: the runners of a bundle in data-flow order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, Self

from backends.contract import (
    Array,
    Artifact,
    DeviceRunner,
    EngineError,
    Runner,
    Specs,
    Tensors,
    check_inputs,
)
from deploy.runtime.manifest import BundleError
from deploy.runtime.values import Streams, Values, streams_of


class Chain:
    """Engine steps wired by tensor name; a context manager that holds their engines.

    Tensors between neighbours on one device stay there. Several threads may call a chain.

    Attributes:
        steps: each step and its runner, in data-flow order.
    """

    def __init__(
        self, steps: Sequence[tuple[Artifact, Runner]], inputs: Specs, outputs: Specs
    ) -> None:
        self.steps = steps
        self._inputs = inputs
        self._outputs = [spec.name for spec in outputs]
        dead = _last_uses([artifact for artifact, _ in steps], self._outputs)
        self._links = [_link(*step, names) for step, names in zip(steps, dead, strict=True)]
        self._device_runners = [link.there for link in self._links if link.there is not None]
        self._stack = ExitStack()

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run every step.

        Args:
            inputs: each of the chain's inputs, in its dtype and shape.

        Raises:
            TensorError: an input is missing, unknown, or of another dtype or shape.
            EngineError: a step failed; it is named. The chain stays usable.
        """
        return self._run(inputs, None)

    def timed(self, inputs: Tensors, seconds: dict[str, float]) -> dict[str, Array]:
        """Run every step and put the seconds that each took into ``seconds``.

        A device is waited for after each of its steps, which a plain call does not do.
        """
        return self._run(inputs, seconds)

    def _run(self, inputs: Tensors, seconds: dict[str, float] | None) -> dict[str, Array]:
        arrays = check_inputs(self._inputs, inputs)
        streams = streams_of(self._device_runners)
        values = Values(dict(zip(self._names, arrays, strict=True)), streams)
        for link in self._links:
            start = time.perf_counter()
            with _named(link.name):
                _step(link, values)
                if seconds is not None:
                    _settle(link, streams)
                    seconds[link.name] = time.perf_counter() - start
            values.drop(link.dead)
        return values.on_host(self._outputs)

    @property
    def _names(self) -> list[str]:
        return [spec.name for spec in self._inputs]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for _, runner in self.steps:
                stack.enter_context(runner)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Link(NamedTuple):
    """A step as a call needs it."""

    name: str
    inputs: list[str]
    runner: Runner
    there: DeviceRunner | None
    dead: list[str]


def _link(artifact: Artifact, runner: Runner, dead: list[str]) -> _Link:
    there = runner if isinstance(runner, DeviceRunner) else None
    return _Link(artifact.name, [spec.name for spec in artifact.inputs], runner, there, dead)


def _step(link: _Link, values: Values) -> None:
    if link.there is None:
        values.run(link.inputs, link.runner)
    else:
        values.run_there(link.inputs, link.there)


def _settle(link: _Link, streams: Streams) -> None:
    """Wait until a step's work on its device is done."""
    stream = streams.get(link.there.place) if link.there is not None else None
    if stream is not None:
        stream.synchronize()


@contextmanager
def _named(step: str) -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise EngineError(f"step '{step}': {error}") from error


def in_order(steps: Sequence[Artifact], inputs: Specs, outputs: Specs) -> list[Artifact]:
    """The steps in data-flow order.

    Raises:
        BundleError: a tensor is made twice or by nobody, or steps wait for each other.
    """
    makers = _makers(steps, inputs)
    needed = [(spec.name, step.name) for step in steps for spec in step.inputs]
    for tensor, user in [*needed, *((spec.name, "the chain's outputs") for spec in outputs)]:
        if tensor not in makers:
            raise BundleError(f"tensor '{tensor}', needed by {user}, is made by no step")
    ready = {spec.name for spec in inputs}
    pending, ordered = list(steps), list[Artifact]()
    while pending:
        step = next((one for one in pending if _names(one.inputs) <= ready), None)
        if step is None:
            raise BundleError(
                f"steps wait for each other: {', '.join(one.name for one in pending)}"
            )
        pending.remove(step)
        ordered.append(step)
        ready |= _names(step.outputs)
    return ordered


def _makers(steps: Sequence[Artifact], inputs: Specs) -> Mapping[str, str]:
    makers = {spec.name: "the chain's inputs" for spec in inputs}
    for step in steps:
        for spec in step.outputs:
            if spec.name in makers:
                raise BundleError(
                    f"tensor '{spec.name}' is made twice, by {makers[spec.name]} and {step.name}"
                )
            makers[spec.name] = step.name
    return makers


def _last_uses(steps: Sequence[Artifact], outputs: Sequence[str]) -> list[list[str]]:
    """For each step, the tensors that nothing needs after it."""
    alive = set(outputs)
    dead: list[list[str]] = []
    for step in reversed(steps):
        mentioned = _names(step.inputs) | _names(step.outputs)
        dead.append(sorted(mentioned - alive))
        alive |= mentioned
    return dead[::-1]


def _names(specs: Specs) -> set[str]:
    return {spec.name for spec in specs}
