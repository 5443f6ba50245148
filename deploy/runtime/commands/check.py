"""``check``: does this bundle, on this device, still agree with its reference?"""

from __future__ import annotations

from pathlib import Path

from deploy.runtime.accuracy.sample_check import check_detections, sample_errors
from deploy.runtime.pipeline import Pipeline


def check(bundle: Path, threads: int | None, key: Path | None = None) -> bool:
    """Replay the sample and print its errors against PyTorch.

    Returns:
        Whether the sample passes the acceptance rule, see ``backends.acceptance``.
    """
    with Pipeline.open(bundle, threads, key) as pipeline:
        return _check_tensors(bundle, pipeline) & check_detections(bundle, pipeline)


def _check_tensors(bundle: Path, pipeline: Pipeline) -> bool:
    errors, tolerance = sample_errors(bundle, pipeline)
    for metrics in errors:
        print(
            f"{'ok' if tolerance.admits(metrics) else 'BAD':<4}{metrics.tensor:<16}"
            f"max_abs {metrics.max_abs:.2e}  max_rel {metrics.max_rel:.2e}  "
            f"cosine {metrics.cosine:.6f}"
        )
    print(f"    tolerance: {tolerance}")
    return all(map(tolerance.admits, errors))
