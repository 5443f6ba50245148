"""Tensors in, tensors out: the runners of a bundle in data-flow order."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self

from backends.contract import Array, Artifact, EngineError, Runner, Specs, Tensors, check_inputs
from deploy.runtime.manifest import BundleError


class Chain:
    """Engine steps wired by tensor name; a context manager that holds their engines.

    Attributes:
        steps: each step and its runner, in data-flow order.
    """

    def __init__(
        self, steps: Sequence[tuple[Artifact, Runner]], inputs: Specs, outputs: Specs
    ) -> None:
        self.steps = steps
        self._inputs = inputs
        self._outputs = [spec.name for spec in outputs]
        self._dead = _last_uses([artifact for artifact, _ in steps], self._outputs)
        self._stack = ExitStack()

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run every step.

        Args:
            inputs: each of the chain's inputs, in its dtype and shape.

        Raises:
            TensorError: an input is missing, unknown, or of another dtype or shape.
            EngineError: a step failed; it is named. The chain stays usable.
        """
        return self.timed(inputs, {})

    def timed(self, inputs: Tensors, seconds: dict[str, float]) -> dict[str, Array]:
        """Run every step and put the seconds that each took into ``seconds``."""
        values = dict(zip(self._names, check_inputs(self._inputs, inputs), strict=True))
        for (artifact, runner), dead in zip(self.steps, self._dead, strict=True):
            start = time.perf_counter()
            taken = {spec.name: values[spec.name] for spec in artifact.inputs}
            try:
                values.update(runner(taken))
            except EngineError as error:
                raise EngineError(f"step '{artifact.name}': {error}") from error
            seconds[artifact.name] = time.perf_counter() - start
            for name in dead:
                del values[name]
        return {name: values[name] for name in self._outputs}

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
