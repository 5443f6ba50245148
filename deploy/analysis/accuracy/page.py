"""The result of accuracy debugging in the report of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.analysis.accuracy.ranking import Bounds, Ranking
from deploy.analysis.accuracy.records import Blame
from deploy.analysis.accuracy.text import HEAD, bisection_lines, step_rows, verdict
from deploy.report.data import BlameTable
from deploy.report.page import read_report, write_report


def add_blame(work: Path, blame: Blame, found: Ranking, bounds: Bounds) -> Path | None:
    """Write the report of a run again, with who is to blame.

    Args:
        work: the folder beside the bundle.
        blame: what was measured.
        found: how it was judged.
        bounds: by which bounds.

    Returns:
        The page; nothing where the folder has no report, or one of another run.

    Raises:
        DeployError: the report cannot be read or written; it is as it was.
    """
    report = read_report(work)
    if report is None or report.manifest_sha256 != blame.manifest:
        return None
    return write_report(work, replace(report, blame=blame_table(blame, found, bounds)))


def blame_table(blame: Blame, found: Ranking, bounds: Bounds) -> BlameTable:
    """What is shown of it."""
    return BlameTable(
        findings=tuple(verdict(blame, found, bounds)),
        culprit="" if found.good else found.steps[0].step.name,
        header=(*HEAD[:-1], "detections"),
        rows=tuple(step_rows(blame, found)),
        operator=tuple(bisection_lines(blame.bisection)) if blame.bisection else (),
    )
