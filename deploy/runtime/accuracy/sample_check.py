"""A bundle's own sample, replayed and compared with what PyTorch gave for it."""

from __future__ import annotations

from pathlib import Path

from deploy.runtime.accuracy.step_errors import (
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
    errors = sample_errors(bundle, pipeline)
    agreement = _sample_agreement(bundle, pipeline)
    allowed = tolerances(pipeline.manifest)
    return all(map(allowed.admit, errors)) and _result_agrees(pipeline.manifest, agreement)


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
