"""The steps of a chain, run one by one on given tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends.contract import Array, DeployError, Runner, Specs, Tensors, select_tensors
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.schedule import Step

Values = dict[str, Array]


class StepOutput(NamedTuple):
    """The outputs of a step, and the error message where it failed."""

    outputs: Values
    failure: str


class SingleStep:
    """A step of a chain on its own; the engine is the chain's."""

    def __init__(self, step: Step, runner: Runner) -> None:
        self.step = step
        self._chain = Chain([(step, runner)], step.inputs, step.outputs)

    def __call__(self, values: Tensors) -> StepOutput:
        """Run the step; where it fails, or lacks an input, it has no outputs."""
        missing = [spec.name for spec in self.step.inputs if spec.name not in values]
        if missing:
            return StepOutput({}, f"there is no '{missing[0]}'")
        try:
            return StepOutput(self._chain(select_in_dtype(self.step.inputs, values)), "")
        except DeployError as error:
            return StepOutput({}, str(error))


class Replay:
    """A chain that can be run again from any of its steps.

    Attributes:
        steps: in data-flow order.
    """

    def __init__(self, steps: Sequence[tuple[Step, Runner]]) -> None:
        self.steps = [SingleStep(step, runner) for step, runner in steps]

    def run(self, inputs: Tensors) -> Values:
        """Every tensor of the chain; those that depend on a step that failed are missing."""
        values = dict(inputs)
        for step in self.steps:
            values |= step(values).outputs
        return values

    def run_with_outputs(self, number: int, values: Tensors, outputs: Tensors) -> Values:
        """Every tensor of the chain after the outputs of one step were replaced.

        Args:
            number: of the step.
            values: every tensor of the chain as it is.
            outputs: in the place of the step's outputs; and further tensors that keep these
                values.
        """
        fixed = tensor_names(self.steps[number].step.outputs) | outputs.keys()
        changed = set(fixed)
        replaced = {**_without(values, fixed), **outputs}
        for single in self.steps:
            recomputed = tensor_names(single.step.outputs) - fixed
            if recomputed and not changed.isdisjoint(tensor_names(single.step.inputs)):
                changed |= recomputed
                result = single(replaced).outputs
                replaced = _without(replaced, recomputed) | {
                    name: result[name] for name in recomputed if name in result
                }
        return replaced

    def upstream_tensors(self, number: int) -> set[str]:
        """The tensors that a step depends on."""
        needed = tensor_names(self.steps[number].step.inputs)
        for single in reversed(self.steps[:number]):
            if not needed.isdisjoint(tensor_names(single.step.outputs)):
                needed |= tensor_names(single.step.inputs)
        return needed


def tensor_names(specs: Specs) -> set[str]:
    """The names of tensors."""
    return {spec.name for spec in specs}


def select_in_dtype(specs: Specs, values: Tensors) -> Values:
    """The values of some tensors in the dtype of their specs; what overflows is infinite."""
    with np.errstate(over="ignore"):
        selected: Values = select_tensors(specs, values)
    return selected


def _without(values: Tensors, dropped: set[str]) -> Values:
    return {name: array for name, array in values.items() if name not in dropped}
