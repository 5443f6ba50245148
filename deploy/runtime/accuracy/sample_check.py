"""A bundle's own sample, replayed and compared with what PyTorch gave for it."""

from __future__ import annotations

from pathlib import Path

from deploy.runtime.accuracy.matching import DetectionAgreement, detection_agreement
from deploy.runtime.accuracy.step_errors import chain_errors, recorded_rule, tolerances
from deploy.runtime.bundle.manifest import Manifest, StepMetrics
from deploy.runtime.bundle.sample import expected_detections, read_sample, sample_picture
from deploy.runtime.pipeline import Pipeline


def sample_errors(bundle: Path, pipeline: Pipeline) -> list[StepMetrics]:
    """The error of each output for the bundle's sample tensors.

    Raises:
        BundleError: the bundle has no sample, or it was changed.
    """
    manifest = pipeline.manifest
    sample = read_sample(bundle, manifest)
    return chain_errors(manifest, pipeline.chain, {**sample.inputs, **sample.outputs})


def sample_agrees(bundle: Path, pipeline: Pipeline) -> bool:
    """Whether the bundle's sample passes the acceptance rule: its tensors and its picture."""
    errors = sample_errors(bundle, pipeline)
    agreement = _sample_agreement(bundle, pipeline)
    allowed = tolerances(pipeline.manifest)
    return all(map(allowed.admit, errors)) and _detections_agree(pipeline.manifest, agreement)


def check_detections(bundle: Path, pipeline: Pipeline) -> bool:
    """Compare the detections in the bundle's sample picture, and print one line about them.

    Returns:
        Whether they pass the acceptance rule; true where the bundle finds nothing in pictures.
    """
    agreement = _sample_agreement(bundle, pipeline)
    if agreement is None:
        return True
    good = _detections_agree(pipeline.manifest, agreement)
    masks = "" if agreement.mask is None else f", masks from IoU {agreement.mask:.4f} up"
    print(
        f"{'ok' if good else 'BAD':<4}{agreement.matched} of {agreement.total} detections matched "
        f"(from both sides), boxes within {agreement.box:.3f} px, "
        f"scores within {agreement.score:.4f}{masks}"
    )
    return good


def _sample_agreement(bundle: Path, pipeline: Pipeline) -> DetectionAgreement | None:
    picture = sample_picture(bundle, pipeline.manifest)
    if picture is None or pipeline.post is None:
        return None
    expected = expected_detections(bundle, pipeline.manifest)
    return detection_agreement([expected], [pipeline(picture)])


def _detections_agree(manifest: Manifest, agreement: DetectionAgreement | None) -> bool:
    rule = recorded_rule(manifest)
    return agreement is None or rule.detections_agree(agreement.matched, agreement.total)
