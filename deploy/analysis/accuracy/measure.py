"""A bundle and the reference's values -> the errors of its steps, and their effects on the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Array, Artifact, DeployError, Tensors
from backends.error_metrics import ErrorMetrics, compare_all, worst
from deploy.analysis.accuracy.records import Blame, ChainEnd, StepBlame, SwapEffects
from deploy.analysis.accuracy.replay import Replay, SingleStep, StepOutput, tensor_names
from deploy.runtime.accuracy.step_errors import (
    compared_as_results,
    downstream_of_host,
    has_results,
)
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from deploy.runtime.bundle.sample import expected_result, has_result, sample_picture
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.execution.schedule import Step
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Result

MeasureEnd = Callable[[Tensors], ChainEnd]
"""Every tensor of a chain -> the agreement of its outputs with the reference."""

Finish = Callable[[Tensors], list[Result]]
"""The outputs of a chain -> its results for the sample."""


@dataclass(frozen=True)
class _Swaps:
    """The chain as it is, and what replaces its tensors in a swap.

    Attributes:
        replay: the chain.
        actual: every tensor of the chain as it is.
        reference: the reference's values.
        selected: the names of the tensors that depend on a host step.
        measure_end: measures the outputs of the chain.
    """

    replay: Replay
    actual: Tensors
    reference: Tensors
    selected: set[str]
    measure_end: MeasureEnd

    def effects(self, number: int, own_outputs: Tensors) -> SwapEffects:
        """The chain's outputs after a swap of a step's inputs, and of its outputs.

        What host steps before it select, such as the order of regions, is the reference's in both:
        only then do rows of the step's tensors belong to the reference's rows.

        Args:
            number: of the step.
            own_outputs: the step's outputs for the reference's inputs.
        """
        fixed = self._reference(self.replay.upstream_tensors(number) & self.selected)
        right = self._reference(tensor_names(self.replay.steps[number].step.outputs))
        return SwapEffects(
            inputs=self._end_with(number, {**fixed, **own_outputs}),
            outputs=self._end_with(number, {**fixed, **right}),
        )

    def _reference(self, names: set[str]) -> dict[str, Array]:
        return {name: self.reference[name] for name in names if name in self.reference}

    def _end_with(self, number: int, outputs: Tensors) -> ChainEnd:
        return self.measure_end(self.replay.run_with_outputs(number, self.actual, outputs))


def measure_steps(bundle: Path, pipeline: Pipeline, values: Tensors) -> Blame:
    """Run every step on the reference's inputs and on the chain's, and swap each back.

    Args:
        bundle: the bundle's folder.
        pipeline: the bundle, open.
        values: the reference's value of every tensor that it has one of.
    """
    manifest, chain = pipeline.manifest, pipeline.chain
    replay, measure_end = Replay(chain.steps), _measure_end(bundle, pipeline, values)
    reference = _with_host_outputs(replay, values)
    actual = replay.run({spec.name: values[spec.name] for spec in manifest.inputs})
    swaps = _Swaps(replay, actual, reference, downstream_of_host(manifest), measure_end)
    steps = []
    for number, single in enumerate(replay.steps):
        own = single(reference)
        measured = replace(
            _own_errors(single.step, values, own),
            inherited=_errors(single.step, values, actual),
            swaps=swaps.effects(number, own.outputs),
        )
        steps.append(measured)
    for step, runner in chain.called:
        steps.append(_own_errors(step, values, SingleStep(step, runner)(reference)))
    digest = hash_file(bundle / MANIFEST).sha256
    return Blame(manifest.model, digest, measure_end(actual), tuple(steps))


def _own_errors(step: Step, values: Tensors, own: StepOutput) -> StepBlame:
    return StepBlame(
        name=step.name,
        backend=step.backend if isinstance(step, Artifact) else "",
        precision=step.precision if isinstance(step, Artifact) else "fp32",
        own=_errors(step, values, own.outputs),
        calls=() if isinstance(step, Artifact) else step.calls,
        failure=own.failure,
    )


def _errors(step: Step, values: Tensors, outputs: Tensors) -> tuple[ErrorMetrics, ...]:
    expected = {spec.name: values[spec.name] for spec in step.outputs if spec.name in values}
    return tuple(compare_all(expected, outputs))


def _with_host_outputs(replay: Replay, values: Tensors) -> dict[str, Array]:
    """With outputs of host steps that the reference has no value of: there, they count as right."""
    completed = dict(values)
    for single in replay.steps:
        if any(spec.name not in completed for spec in single.step.outputs):
            completed = {**single(completed).outputs, **completed}
    return completed


def _measure_end(bundle: Path, pipeline: Pipeline, values: Tensors) -> MeasureEnd:
    """What measures the outputs of the chain, and the results for the sample."""
    manifest = pipeline.manifest
    selected = compared_as_results(manifest)
    expected = {
        spec.name: values[spec.name]
        for spec in manifest.outputs
        if spec.name in values and spec.name not in selected
    }
    comparison = _results_comparison(bundle, pipeline, values)
    if comparison is None:
        return lambda tensors: ChainEnd(_largest_error(expected, tensors))
    kind, reference, finish = comparison
    total = kind.agreement(reference, reference).total
    outputs = [spec.name for spec in manifest.outputs]

    def measure(tensors: Tensors) -> ChainEnd:
        error = _largest_error(expected, tensors)
        try:
            results = finish({name: tensors[name] for name in outputs})
        except (KeyError, DeployError):  # a step failed, or its outputs do not fit the host step
            return ChainEnd(error, 0, total, kind.noun)
        agreement = kind.agreement(reference, results)
        return ChainEnd(error, agreement.matched, agreement.total, kind.noun)

    return measure


def _results_comparison(
    bundle: Path, pipeline: Pipeline, values: Tensors
) -> tuple[type[Result], list[Result], Finish] | None:
    """The class of the results, the reference's for the sample, and what makes the chain's."""
    manifest, picture = pipeline.manifest, sample_picture(bundle, pipeline.manifest)
    if manifest.post is None:
        return None
    kind = result_class(manifest.post.id)
    if has_results(manifest, values):
        return kind, pipeline.finish_batch(values), pipeline.finish_batch
    if picture is None or not has_result(manifest):
        return None
    _, placement = pipeline.prepare(picture)
    reference = expected_result(bundle, manifest, kind)
    return kind, [reference], lambda tensors: [pipeline.finish(tensors, placement)]


def _largest_error(expected: Tensors, actual: Tensors) -> ErrorMetrics | None:
    return worst(compare_all(expected, actual)) if expected else None
