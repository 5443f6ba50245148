"""``check``: does this bundle, on this device, still agree with its reference?"""

from __future__ import annotations

from pathlib import Path

from deploy.runtime.accuracy.sample_check import check_detections, sample_errors
from deploy.runtime.pipeline import Pipeline


def check(bundle: Path, threads: int | None, key: Path | None = None) -> bool:
    """Replay the sample and print how far it is from PyTorch; true where it agrees."""
    with Pipeline.open(bundle, threads, key) as pipeline:
        return _check_tensors(bundle, pipeline) & check_detections(bundle, pipeline)


def _check_tensors(bundle: Path, pipeline: Pipeline) -> bool:
    gaps, bound = sample_errors(bundle, pipeline)
    for gap in gaps:
        print(
            f"{'ok' if bound.admits(gap) else 'BAD':<4}{gap.tensor:<16}max_abs {gap.max_abs:.2e}  "
            f"max_rel {gap.max_rel:.2e}  cosine {gap.cosine:.6f}"
        )
    print(f"    tolerance: {bound}")
    return all(bound.admits(gap) for gap in gaps)
