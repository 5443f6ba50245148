"""``check``: does this bundle, on this device, still do what PyTorch did on the desk?"""

from __future__ import annotations

from pathlib import Path

from backends.gap import Gap, Tolerance, measure_all
from deploy.runtime.detections import CONFIDENT
from deploy.runtime.gaps import chain_tolerance
from deploy.runtime.matching import Match, match
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.sample import expected_detections, read_sample, sample_picture


def check(bundle: Path, threads: int | None, key: Path | None = None) -> bool:
    """Replay the sample and print how far it is from PyTorch; true where it agrees."""
    with Pipeline.open(bundle, threads, key) as pipeline:
        return _check_tensors(bundle, pipeline) & check_detections(bundle, pipeline)


def sample_gaps(bundle: Path, pipeline: Pipeline) -> tuple[list[Gap], Tolerance]:
    """How far each output for the bundle's sample is from PyTorch's, and how far it may be."""
    sample = read_sample(bundle, pipeline.manifest)
    gaps = measure_all(sample.outputs, pipeline.chain(sample.inputs))
    return gaps, chain_tolerance(pipeline.manifest)


def _check_tensors(bundle: Path, pipeline: Pipeline) -> bool:
    gaps, bound = sample_gaps(bundle, pipeline)
    for gap in gaps:
        print(
            f"{'ok' if bound.admits(gap) else 'BAD':<4}{gap.tensor:<16}max_abs {gap.max_abs:.2e}  "
            f"max_rel {gap.max_rel:.2e}  cosine {gap.cosine:.6f}"
        )
    print(f"    tolerance: {bound}")
    return all(bound.admits(gap) for gap in gaps)


def agrees(bundle: Path, pipeline: Pipeline) -> bool:
    """Whether the sample's tensors and picture give what PyTorch gave; prints nothing."""
    gaps, bound = sample_gaps(bundle, pipeline)
    found = _sample_match(bundle, pipeline)
    return all(map(bound.admits, gaps)) and (found is None or not found.missing)


def _sample_match(bundle: Path, pipeline: Pipeline) -> Match | None:
    """PyTorch's detections in the sample picture beside those of the bundle, if it finds any."""
    picture = sample_picture(bundle, pipeline.manifest)
    if picture is None or pipeline.post is None:
        return None
    expected = expected_detections(bundle, pipeline.manifest).above(CONFIDENT)
    return match(expected, pipeline(picture))


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
