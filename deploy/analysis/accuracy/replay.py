"""The steps of a chain, one by one, each on what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends.contract import Array, DeployError, Runner, Specs, Tensors, select_tensors
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.schedule import Step

Values = dict[str, Array]


class StepOutput(NamedTuple):
    """What a step gave, or what it said where it failed."""

    outputs: Values
    failure: str


class SingleStep:
    """A step of a chain on its own; the engine is the chain's."""

    def __init__(self, step: Step, runner: Runner) -> None:
        self.step = step
        self._chain = Chain([(step, runner)], step.inputs, step.outputs)

    def __call__(self, values: Tensors) -> StepOutput:
        """Run it; where it fails, or lacks an input, it gives nothing."""
        missing = [spec.name for spec in self.step.inputs if spec.name not in values]
        if missing:
            return StepOutput({}, f"there is no '{missing[0]}'")
        try:
            return StepOutput(self._chain(in_dtype(self.step.inputs, values)), "")
        except DeployError as error:
            return StepOutput({}, str(error))


class Replay:
    """A chain that can be run from its middle.

    Attributes:
        steps: in data-flow order.
    """

    def __init__(self, steps: Sequence[tuple[Step, Runner]]) -> None:
        self.steps = [SingleStep(*step) for step in steps]

    def run(self, inputs: Tensors) -> Values:
        """Every tensor of the chain; what comes behind a step that failed is missing."""
        values = dict(inputs)
        for solo in self.steps:
            values |= solo(values).outputs
        return values

    def swapped(self, number: int, values: Tensors, outputs: Tensors) -> Values:
        """Every tensor of the chain with other outputs of one step.

        Args:
            number: of the step.
            values: every tensor of the chain as it is.
            outputs: what the step gives in the place of its own, and other tensors that are
                to stay like this.
        """
        fixed = names(self.steps[number].step.outputs) | outputs.keys()
        changed = set(fixed)
        found = {**_without(values, fixed), **outputs}
        for solo in self.steps:
            made = names(solo.step.outputs) - fixed
            if made and not changed.isdisjoint(names(solo.step.inputs)):
                changed |= made
                given = solo(found).outputs
                found = _without(found, made) | {
                    name: given[name] for name in made if name in given
                }
        return found

    def before(self, number: int) -> set[str]:
        """The tensors that a step depends on."""
        needed = names(self.steps[number].step.inputs)
        for solo in reversed(self.steps[:number]):
            if not needed.isdisjoint(names(solo.step.outputs)):
                needed |= names(solo.step.inputs)
        return needed


def names(specs: Specs) -> set[str]:
    """The names of tensors."""
    return {spec.name for spec in specs}


def in_dtype(specs: Specs, values: Tensors) -> Values:
    """The values of some tensors in the dtype of their specs; what does not fit is infinite."""
    with np.errstate(over="ignore"):
        found: Values = select_tensors(specs, values)
    return found


def _without(values: Tensors, dropped: set[str]) -> Values:
    return {name: array for name, array in values.items() if name not in dropped}
