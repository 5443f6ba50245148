"""One job: a run with its printed result, its report page, and its row for a sweep's table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from backends.contract import DeployError
from deploy.pipeline.run import run_pipeline
from deploy.pipeline.work_folder import lock_work_folder
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import Recipe
from deploy.report.collect import collect_report
from deploy.report.console import TerminalConsole
from deploy.report.page import write_report
from deploy.report.progress import Progress, Stage
from deploy.report.run_result import RunResult, print_result
from deploy.report.sweep import JobRow


def run_job(
    job: str,
    recipe: Recipe,
    bundle: Path,
    work: Path,
    command: str = "",
    progress: Progress | None = None,
) -> JobRow:
    """Run a recipe, print the result and write its report.

    Args:
        job: the overrides of the command line.
        recipe: what to do.
        bundle: the folder to write.
        work: the work folder.
        command: the whole command line, quoted for a shell.
        progress: with the stages so far; a new one by default.

    Raises:
        DeployError: the recipe is invalid or a stage failed.
    """
    progress = progress or Progress(TerminalConsole(soft_wrap=True))
    result = run_pipeline(recipe, RunPaths(bundle, work), progress)
    with progress.stage("report"):
        page = _write_report(work, result, recipe, progress.stages, job, command)
    print_result(progress.console, progress.stages, result, page)
    return _row(job, recipe, result)


def _write_report(
    work: Path, result: RunResult, recipe: Recipe, stages: Sequence[Stage], job: str, command: str
) -> Path | None:
    """The report page; a report that cannot be written is a warning, for the bundle is complete."""
    try:
        with lock_work_folder(work):
            return write_report(work, collect_report(result, recipe, stages, job, command))
    except (DeployError, OSError) as error:
        print(f"warning: the bundle is written, its report is not: {error}", file=sys.stderr)
        return None


def _row(job: str, recipe: Recipe, result: RunResult) -> JobRow:
    latency, notes = result.latency, result.manifest.verification.notes
    problem = result.verdict.problem
    return JobRow(
        job=job,
        model=recipe.model.name,
        backend=result.backends,
        status=result.manifest.verification.status,
        p50_ms=latency.p50 if latency else None,
        p90_ms=latency.p90 if latency else None,
        size=result.size,
        gap=result.gap,
        map_50=notes.get("map_50"),
        map_50_95=notes.get("map"),
        torch_map_50_95=notes.get("torch_map"),
        mask_map_50=notes.get("mask_map_50"),
        mask_map_50_95=notes.get("mask_map"),
        torch_mask_map_50_95=notes.get("torch_mask_map"),
        bundle=str(result.bundle),
        error=str(problem) if problem else "",
    )
