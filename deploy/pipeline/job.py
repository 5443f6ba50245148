"""One job: a run with its printed result, its report page, and its row for a sweep's table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends.contract import DeployError
from deploy.pipeline.run import run_pipeline
from deploy.pipeline.sweep import JobBench, JobRecord
from deploy.pipeline.work_folder import lock_work_folder
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import Recipe
from deploy.report.collect import collect_report
from deploy.report.console import TerminalConsole
from deploy.report.device_results import DeviceOutcome, device_scores
from deploy.report.page import write_report
from deploy.report.progress import Progress, Stage
from deploy.report.run_result import RunResult, print_result
from deploy.report.sweep import DeviceRow, JobRow
from deploy.runtime.accuracy.evaluation import noted_scores
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from deploy.runtime.execution.own_posts import word_for_command


def run_job(
    job: str,
    recipe: Recipe,
    bundle: Path,
    work: Path,
    command: str = "",
    progress: Progress | None = None,
    in_sweep: bool = False,
) -> JobRecord:
    """Run a recipe, print the result and write its report.

    Args:
        job: the overrides of the command line.
        recipe: what to do.
        bundle: the folder to write.
        work: the work folder.
        command: the whole command line, quoted for a shell.
        progress: with the stages so far; a new one by default.
        in_sweep: whether the job belongs to a sweep, which measures the latency at its end.

    Raises:
        DeployError: the recipe is invalid or a stage failed.
    """
    progress = progress or Progress(TerminalConsole(soft_wrap=True))
    bench = _bench_of_sweep(recipe) if in_sweep else JobBench()
    result = run_pipeline(recipe, RunPaths(bundle, work), progress, in_turns=bench.rounds > 0)
    with progress.stage("report"):
        page = _write_report(work, result, recipe, progress.stages, job, command)
    print_result(progress.console, progress.stages, result, page)
    post = word_for_command(result.manifest.post)
    is_here = not recipe.device or any(device.host is None for device in recipe.device)
    rounds = bench.rounds if is_here and not result.pending else 0
    return JobRecord(_row(job, recipe, result), replace(bench, rounds=rounds, post=post))


def _bench_of_sweep(recipe: Recipe) -> JobBench:
    """How the sweep of a job measures its bundle."""
    if not recipe.bench.runs or not recipe.bench.rounds:
        return JobBench()
    return JobBench(recipe.bench.rounds, recipe.bench.seconds)


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
    row = JobRow(
        job=job,
        model=recipe.model.name,
        backend=result.backends,
        status=result.status,
        size=result.size,
        gap=result.gap,
        scores=noted_scores(result.manifest),
        bundle=str(result.bundle),
        manifest_sha256=hash_file(result.bundle / MANIFEST).sha256,
        error="\n".join(result.problems),
    )
    row = row.with_latency(result.latency) if result.latency else row
    return _row_of_devices(row, result) if result.devices else row


def _row_of_devices(row: JobRow, result: RunResult) -> JobRow:
    """The row with what devices have measured: of one device in the place of what the desk has."""
    names = ", ".join(one.name for one in result.devices)
    if len(result.devices) > 1:
        return replace(row, device=names, devices=tuple(map(_device_row, result.devices)))
    (one,) = result.devices
    scores = device_scores(result.manifest, one.record) if one.record else ()
    row = replace(row, device=names, gap=one.gap, scores=scores or row.scores)
    return row.with_latency(one.latency) if one.latency else row


def _device_row(outcome: DeviceOutcome) -> DeviceRow:
    total = outcome.used.total if outcome.used else None
    return DeviceRow(
        outcome.name,
        outcome.status,
        total.p50 if total else None,
        total.p90 if total else None,
        outcome.gap,
        outcome.problem,
    )
