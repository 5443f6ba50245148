"""A bundle's own sample, replayed and compared with what PyTorch gave for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.runtime.accuracy.step_errors import (
    CHAIN,
    chain_errors,
    has_results,
    recorded_rule,
    tolerances,
)
from deploy.runtime.bundle.manifest import Manifest, StepMetrics
from deploy.runtime.bundle.sample import expected_result, read_sample, sample_picture
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Agreement


@dataclass(frozen=True)
class SampleComparison:
    """The bundle's sample, compared with what PyTorch gave for it.

    Attributes:
        errors: of each output of the chain, or of every step too.
        agreement: of the results, where the sample gives some.
        problem: what is beyond the acceptance rule, for people; empty where nothing is.
    """

    errors: tuple[StepMetrics, ...]
    agreement: Agreement | None
    problem: str


def compare_sample(
    bundle: Path, pipeline: Pipeline, errors: Sequence[StepMetrics]
) -> SampleComparison:
    """Hold the errors for the bundle's sample, and its results, to the acceptance rule.

    Args:
        bundle: its folder.
        pipeline: the bundle, open.
        errors: as of ``sample_errors``, or of every step too.

    Raises:
        BundleError: the bundle has no sample, or it was changed.
    """
    agreement = _sample_agreement(bundle, pipeline)
    allowed = tolerances(pipeline.manifest)
    problem = "" if _result_agrees(pipeline.manifest, agreement) else str(agreement)
    for item in errors:
        if not allowed.admit(item):
            where = "the chain" if item.step == CHAIN else f"'{item.step}'"
            problem = (
                f"'{item.gap.tensor}' of {where}: max_rel {item.gap.max_rel:.3g}, cosine "
                f"{item.gap.cosine:.6f}; allowed is {allowed.of(item)}"
            )
            break
    return SampleComparison(tuple(errors), agreement, problem)


def sample_errors(bundle: Path, pipeline: Pipeline) -> list[StepMetrics]:
    """The error of each output for the bundle's sample tensors.

    Raises:
        BundleError: the bundle has no sample, or it was changed.
    """
    manifest = pipeline.manifest
    sample = read_sample(bundle, manifest)
    return chain_errors(manifest, pipeline.chain, {**sample.inputs, **sample.outputs})


def sample_agrees(bundle: Path, pipeline: Pipeline) -> bool:
    """Whether the bundle's sample passes the acceptance rule: its tensors and its results."""
    return not compare_sample(bundle, pipeline, sample_errors(bundle, pipeline)).problem


def check_result(bundle: Path, pipeline: Pipeline) -> bool:
    """Compare the results for the bundle's sample, and print one line about them.

    Returns:
        Whether they pass the acceptance rule; true where the sample gives no results.
    """
    agreement = _sample_agreement(bundle, pipeline)
    if agreement is None:
        return True
    good = _result_agrees(pipeline.manifest, agreement)
    print(f"{'ok' if good else 'BAD':<4}{agreement}")
    return good


def _sample_agreement(bundle: Path, pipeline: Pipeline) -> Agreement | None:
    picture, post = sample_picture(bundle, pipeline.manifest), pipeline.manifest.post
    if post is None:
        return None
    kind = result_class(post.id)
    if picture is None:
        sample = read_sample(bundle, pipeline.manifest)
        if not has_results(pipeline.manifest, sample.outputs):
            return None
        outputs = pipeline.chain(sample.inputs)
        return kind.agreement(pipeline.finish_batch(sample.outputs), pipeline.finish_batch(outputs))
    expected = expected_result(bundle, pipeline.manifest, kind)
    return kind.agreement([expected], [pipeline(picture)])


def _result_agrees(manifest: Manifest, agreement: Agreement | None) -> bool:
    rule = recorded_rule(manifest)
    return agreement is None or rule.results_agree(agreement.matched, agreement.total)
