"""A bundle's own sample, replayed and compared."""

from __future__ import annotations

from pathlib import Path

from backends.acceptance import Tolerance
from backends.error_metrics import ErrorMetrics, compare_all
from deploy.runtime.accuracy.matching import Match, match_detections
from deploy.runtime.accuracy.step_errors import chain_tolerance
from deploy.runtime.bundle.sample import expected_detections, read_sample, sample_picture
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision import CONFIDENT


def sample_errors(bundle: Path, pipeline: Pipeline) -> tuple[list[ErrorMetrics], Tolerance]:
    """How far each output for the bundle's sample is from PyTorch's, and how far it may be."""
    sample = read_sample(bundle, pipeline.manifest)
    gaps = compare_all(sample.outputs, pipeline.chain(sample.inputs))
    return gaps, chain_tolerance(pipeline.manifest)


def sample_agrees(bundle: Path, pipeline: Pipeline) -> bool:
    """Whether the sample's tensors and picture give what PyTorch gave; prints nothing."""
    gaps, bound = sample_errors(bundle, pipeline)
    found = _sample_match(bundle, pipeline)
    return all(map(bound.admits, gaps)) and (found is None or not found.missing)


def _sample_match(bundle: Path, pipeline: Pipeline) -> Match | None:
    """PyTorch's detections in the sample picture beside those of the bundle, if it finds any."""
    picture = sample_picture(bundle, pipeline.manifest)
    if picture is None or pipeline.post is None:
        return None
    expected = expected_detections(bundle, pipeline.manifest).above(CONFIDENT)
    return match_detections(expected, pipeline(picture))


def check_detections(bundle: Path, pipeline: Pipeline) -> bool:
    """Print how many of PyTorch's detections are found in the sample picture; true if all."""
    result = _sample_match(bundle, pipeline)
    if result is None:
        return True
    good, expected = not result.missing, result.matched + result.missing
    masks = "" if result.mask is None else f", masks from IoU {result.mask:.4f} up"
    print(
        f"{'ok' if good else 'BAD':<4}{result.matched} of {expected} detections matched, "
        f"boxes within {result.box:.3f} px, scores within {result.score:.4f}{masks}"
    )
    return good
