"""The result of accuracy debugging as a section of a run's report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.analysis.accuracy.ranking import Ranking
from deploy.analysis.accuracy.text import HEAD, bisection_lines, step_rows, summary_sentences
from deploy.report.data import BlameTable
from deploy.report.page import read_report, write_report


def add_to_report(work: Path, ranking: Ranking) -> Path | None:
    """Write the report of a run again, with the result of accuracy debugging.

    Args:
        work: the work folder beside the bundle.
        ranking: the result.

    Returns:
        The page; None where the folder has no report, or one of another run.

    Raises:
        DeployError: the report cannot be read or written; it is as it was.
    """
    report = read_report(work)
    if report is None or report.manifest_sha256 != ranking.blame.manifest:
        return None
    return write_report(work, replace(report, blame=_blame_table(ranking)))


def _blame_table(ranking: Ranking) -> BlameTable:
    bisection = ranking.blame.bisection
    return BlameTable(
        findings=tuple(summary_sentences(ranking)),
        culprit="" if ranking.good else ranking.steps[0].step.name,
        header=(*HEAD[:-1], "matched"),
        rows=tuple(step_rows(ranking)),
        operator=tuple(bisection_lines(bisection)) if bisection else (),
    )
