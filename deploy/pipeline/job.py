"""One job: a recipe carried out, shown, and summed up as a page and as a row of a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from backends.contract import DeployError
from deploy.pipeline.run import run_pipeline
from deploy.pipeline.work_folder import hold_work_folder
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import Recipe
from deploy.report.collect import collect_report
from deploy.report.console import print_result
from deploy.report.files import write_report
from deploy.report.progress import Progress, Stage
from deploy.report.run_result import RunResult
from deploy.report.sweep import JobRow


def run_job(job: str, recipe: Recipe, bundle: Path, work: Path, command: str = "") -> JobRow:
    """Carry out a recipe, and print and write what came of it.

    Args:
        job: the words of the command line.
        recipe: the recipe.
        bundle: the folder to write.
        work: the folder for the stages' own files.
        command: the whole command line, quoted for a shell.

    Raises:
        DeployError: a stage cannot do its work.
    """
    progress = Progress(Console(soft_wrap=True))
    outcome = run_pipeline(recipe, RunPaths(bundle, work), progress)
    page = _report(work, outcome, recipe, progress.stages, job, command)
    print_result(progress.console, progress.stages, outcome, page)
    return _row(job, recipe, outcome)


def _report(
    work: Path, outcome: RunResult, recipe: Recipe, stages: Sequence[Stage], job: str, command: str
) -> Path | None:
    """The page of a run; the bundle is there and stays there without it too."""
    try:
        with hold_work_folder(work):
            return write_report(work, collect_report(outcome, recipe, stages, job, command))
    except (DeployError, OSError) as error:
        print(f"warning: the bundle is written, its report is not: {error}", file=sys.stderr)
        return None


def _row(job: str, recipe: Recipe, outcome: RunResult) -> JobRow:
    latency, notes = outcome.latency, outcome.verdict.verification.notes
    problem = outcome.verdict.problem
    return JobRow(
        job=job,
        model=recipe.model.name,
        backend=outcome.backends,
        status=outcome.verdict.verification.status,
        p50_ms=latency.p50 if latency else None,
        p90_ms=latency.p90 if latency else None,
        size=outcome.size,
        gap=outcome.gap,
        map_50=notes.get("map_50"),
        map_50_95=notes.get("map"),
        torch_map_50_95=notes.get("torch_map"),
        mask_map_50=notes.get("mask_map_50"),
        mask_map_50_95=notes.get("mask_map"),
        torch_mask_map_50_95=notes.get("torch_mask_map"),
        bundle=str(outcome.bundle),
        error=str(problem) if problem else "",
    )
