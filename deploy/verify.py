"""A bundle against the PyTorch model: every segment, the chain, and its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from backends.acceptance import DEFAULT_RULE, AcceptanceRule
from backends.contract import Array, Tensors, select_tensors
from backends.error_metrics import compare_all
from deploy.runtime.accuracy.dataset import Dataset, Scores
from deploy.runtime.accuracy.evaluation import evaluate, score_notes
from deploy.runtime.accuracy.step_errors import (
    CHAIN,
    SAMPLES_NOTE,
    UNMOVED_NOTE,
    VerificationError,
    agreement_notes,
    alternative_errors,
    chain_errors,
    first_violation,
    has_results,
    rule_notes,
    shape_violation,
    step_errors,
    worst_errors,
)
from deploy.runtime.bundle.manifest import Manifest, StepMetrics, Verification
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Agreement, Result
from deploy.runtime.vision.image import Decoded, Picture

_CALLS = 4  # of a series that carries a state


ReferenceFunction = Callable[[Tensors], dict[str, Array]]
"""From the inputs of the chain to the whole model's value of every tensor of the chain."""


@dataclass(frozen=True)
class ReferenceData:
    """What a bundle is compared with.

    Attributes:
        reference: the whole model.
        values: its value of every tensor of the chain, for the sample inputs.
        pictures: to compare results on.
        dataset: to evaluate both models on, or None.
        name: what the reference is, for people.
        others: its values for further samples, which are compared too.
        rule: what counts as agreement.
        unmoved: outputs that hardly differ between two samples, and by how much.
        known: its values for further inputs, which are not computed once more.
    """

    reference: ReferenceFunction
    values: Tensors
    pictures: Sequence[Path]
    dataset: Dataset | None
    name: str = "PyTorch"
    others: Sequence[Tensors] = ()
    rule: AcceptanceRule = DEFAULT_RULE
    unmoved: Mapping[str, float] = field(default_factory=dict)
    known: Sequence[Tensors] = ()

    @property
    def notes(self) -> dict[str, float]:
        """Of the manifest: the rule, the number of samples, and outputs that hardly move."""
        unmoved = {f"{UNMOVED_NOTE}{name}": change for name, change in self.unmoved.items()}
        count = {SAMPLES_NOTE: 1.0 + len(self.others)} if self.others else {}
        return {**count, **unmoved, **rule_notes(self.rule)}

    def whole_model(self, inputs: Tensors) -> dict[str, Array]:
        """The reference on inputs of the chain, which may be in half precision."""
        full_precision = {
            name: array.astype(self.values[name].dtype, copy=False)
            for name, array in inputs.items()
        }
        for values in (self.values, *self.others, *self.known):
            if _has_inputs(values, full_precision):
                return dict(values)
        return self.reference(full_precision)


def _has_inputs(values: Tensors, inputs: Tensors) -> bool:
    """Whether the values are those for these inputs, bit by bit."""
    return all(name in values and _is_same(values[name], array) for name, array in inputs.items())


def _is_same(one: Array, other: Array) -> bool:
    is_alike = one.dtype == other.dtype and one.shape == other.shape
    return is_alike and one.tobytes() == other.tobytes()


@dataclass(frozen=True)
class Verdict:
    """What was measured.

    Attributes:
        verification: for the manifest.
        problem: the first violation of the acceptance rule, or None.
        expected: the result of PyTorch for each picture, or for each input of samples of tensors.
        actual: likewise of the chain.
        engine_notes: what the engines tell of how they run here.
    """

    verification: Verification
    problem: VerificationError | None
    expected: tuple[Result, ...] = ()
    actual: tuple[Result, ...] = ()
    engine_notes: tuple[str, ...] = ()


def verify(bundle: Path, manifest: Manifest, reference: ReferenceData) -> Verdict:
    """Measure a bundle against the PyTorch model, and apply the acceptance rule.

    Args:
        bundle: the bundle's folder.
        manifest: its manifest.
        reference: what it is compared with, and the rule.
    """
    with Pipeline.open(bundle, trusted=True, choices={}) as pipeline:
        samples = (reference.values, *reference.others)
        errors = worst_errors(_errors(bundle, manifest, pipeline, values) for values in samples)
        shapes = (shape_violation(manifest, values) for values in samples)
        problem = next(filter(None, shapes), None)
        problem = problem or first_violation(manifest, errors, reference.name, reference.rule)
        problem = problem or _stream_problem(pipeline, reference)
        verification = Verification(_status(problem), tuple(errors), reference.notes)
        notes = tuple(pipeline.chain.notes())
        verdict = Verdict(verification, problem, engine_notes=notes)
        if manifest.post is None:
            return verdict
        if manifest.pre is None:
            results = _results_of_samples(pipeline, manifest, samples)
            return _with_agreement(
                verdict, result_class(manifest.post.id), *results, reference.rule
            )
        torch = ReferencePipeline(pipeline, reference.whole_model)
        expected = tuple(torch(picture) for picture in reference.pictures)
        actual = tuple(_result_alone(pipeline, picture) for picture in reference.pictures)
        kind = result_class(manifest.post.id)
        verdict = _with_agreement(verdict, kind, expected, actual, reference.rule)
        if reference.dataset is None:
            return verdict
        scores = [evaluate(reference.dataset, detect) for detect in (pipeline, torch)]
    return _with_scores(verdict, *scores)


def _results_of_samples(
    pipeline: Pipeline, manifest: Manifest, samples: Sequence[Tensors]
) -> tuple[tuple[Result, ...], tuple[Result, ...]]:
    """The results of the reference and of the chain for each input of samples of tensors.

    A sample is left out of which the reference gives no value for a tensor of the post-processing.
    """
    expected: list[Result] = []
    actual: list[Result] = []
    for values in samples:
        if has_results(manifest, values):
            expected += pipeline.finish_batch(values)
            outputs = pipeline.chain(select_tensors(manifest.inputs, values))
            actual += pipeline.finish_batch(outputs)
    return tuple(expected), tuple(actual)


def _result_alone(pipeline: Pipeline, picture: Path) -> Result:
    """The result for a picture, whatever pictures came before it."""
    pipeline.reset_state()
    return pipeline(picture)


def _stream_problem(pipeline: Pipeline, reference: ReferenceData) -> VerificationError | None:
    """Compare a series of calls that carry their state, from its first values on.

    Each call gets other inputs, the elements of the sample in another order.
    """
    manifest = pipeline.manifest
    if not manifest.state:
        return None
    stream = pipeline.open_stream()
    state = dict(stream.values)
    inputs = select_tensors(manifest.caller_inputs, reference.values)
    for number in range(_CALLS):
        changed = {name: np.roll(array, number) for name, array in inputs.items()}
        values = reference.whole_model({**changed, **state})
        state = {tensor.input: values[tensor.output] for tensor in manifest.state}
        outputs = {**stream(changed), **stream.values}
        expected = {name: {**values, **state}[name] for name in outputs}
        errors = [StepMetrics(CHAIN, metrics) for metrics in compare_all(expected, outputs)]
        name = f"{reference.name} in call {number + 1} of a series"
        if problem := first_violation(manifest, errors, name, reference.rule):
            return problem
    return None


def _errors(
    bundle: Path, manifest: Manifest, pipeline: Pipeline, values: Tensors
) -> list[StepMetrics]:
    """The errors of each step, each alternative and the chain for one sample."""
    steps = [*pipeline.chain.steps, *pipeline.chain.called]
    errors = [item for step in steps for item in step_errors(*step, values)]
    errors += alternative_errors(bundle, manifest, values, trusted=True)
    return errors + chain_errors(manifest, pipeline.chain, values)


def expected_results_only(manifest: Manifest, reference: ReferenceData) -> Verdict:
    """The results of PyTorch, for the device to compare with once it has built its engines.

    Args:
        manifest: the bundle's manifest.
        reference: what the bundle is to be compared with, and the rule.
    """
    pipeline = Pipeline.without_engines(manifest)
    if pipeline.post is None or manifest.pre is None:  # the sample has the outputs that it is of
        return Verdict(Verification("pending", notes=reference.notes), None)
    torch = ReferencePipeline(pipeline, reference.whole_model)
    expected = tuple(torch(picture) for picture in reference.pictures[:1])
    scores = evaluate(reference.dataset, torch) if reference.dataset is not None else {}
    notes = {**reference.notes, **score_notes({}, scores)}
    return Verdict(Verification("pending", notes=notes), None, expected)


@dataclass(frozen=True)
class ReferencePipeline:
    """The bundle's own pre- and post-processing around the PyTorch model."""

    pipeline: Pipeline
    reference: ReferenceFunction

    def __call__(self, picture: Picture) -> Result:
        """The result of PyTorch, in the picture's own pixels."""
        inputs, placement = self.pipeline.prepare(picture)
        return self.pipeline.finish(self._outputs(inputs), placement)

    def _outputs(self, inputs: Tensors) -> dict[str, Array]:
        """The model's outputs in the first call of a series."""
        return self.reference({**inputs, **self.pipeline.open_stream().values})

    def decode(self, picture: Picture) -> Decoded:
        """The picture in RGB, as the bundle decodes it."""
        return self.pipeline.decode(picture)

    def timed(self, picture: Picture, seconds: dict[str, float]) -> Result:
        """As a call; it also writes the seconds of pre, model, post and total to ``seconds``."""
        start = time.perf_counter()
        inputs, placement = self.pipeline.prepare(picture)
        prepared = time.perf_counter()
        outputs = self._outputs(inputs)
        ran = time.perf_counter()
        result = self.pipeline.finish(outputs, placement)
        end = time.perf_counter()
        seconds |= {"pre": prepared - start, "model": ran - prepared}
        seconds |= {"post": end - ran, "total": end - start}
        return result


def _with_agreement(
    verdict: Verdict,
    kind: type[Result],
    expected: tuple[Result, ...],
    actual: tuple[Result, ...],
    rule: AcceptanceRule,
) -> Verdict:
    if not expected:
        return verdict
    agreement = kind.agreement(expected, actual)
    problem = verdict.problem or _disagreement(agreement, rule)
    notes = {
        **agreement_notes(agreement),
        **verdict.verification.notes,
    }
    verification = replace(verdict.verification, status=_status(problem), notes=notes)
    return replace(
        verdict, verification=verification, problem=problem, expected=expected, actual=actual
    )


def _disagreement(agreement: Agreement, rule: AcceptanceRule) -> VerificationError | None:
    if rule.results_agree(agreement.matched, agreement.total):
        return None
    return VerificationError(
        "the chain does not find what PyTorch finds",
        expected=f"at least {100 * rule.min_matched:g}% of {agreement.noun} matched",
        got=f"{agreement.matched} of {agreement.total}",
        do="The bundle is marked unverified.",
    )


def _status(problem: VerificationError | None) -> Literal["passed", "failed"]:
    return "failed" if problem else "passed"


def _with_scores(verdict: Verdict, chain: Scores, reference: Scores) -> Verdict:
    notes = {**verdict.verification.notes, **score_notes(chain, reference)}
    verification = replace(verdict.verification, notes=notes)
    return replace(verdict, verification=verification)
