"""The latencies of a sweep: at its end all bundles are measured in turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends.codec import to_json
from backends.files import write_text
from deploy.pipeline.sweep import JobRecord
from deploy.pipeline.work_folder import lock_work_folder
from deploy.recipe.output_paths import work_folder
from deploy.report.collect import with_latency
from deploy.report.page import write_report
from deploy.report.progress import Progress
from deploy.report.sweep import Job, JobRow
from deploy.runtime.benchmark.comparison import Comparison, Contender, compare
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.worker import Subject
from deploy.runtime.vision.compiling import without_compiling

FILE = "sweep.json"
"""In the sweep's folder: every round, and the machine meanwhile."""


def measure_sweep(records: Sequence[JobRecord], progress: Progress) -> Comparison | None:
    """Measure the bundles of all jobs in turns, each in processes of its own.

    Host steps run in NumPy, as in the verification. A job's number is its name.

    Returns:
        What was measured; None where no job wants it.
    """
    wanted = {str(number): record for number, record in enumerate(records) if record.bench.rounds}
    if not wanted:
        return None
    rounds = max(record.bench.rounds for record in wanted.values())
    seconds = max(record.bench.seconds for record in wanted.values())
    contenders = {name: _contender(record) for name, record in wanted.items()}
    many = f"{len(wanted)} bundle{'s' if len(wanted) > 1 else ''} in turns"
    with progress.stage("latency", f"{many}, {rounds} rounds") as stage, without_compiling():

        def show(number: int) -> None:
            stage.activity = f"{many}, round {number} of {rounds}"

        return compare(contenders, rounds, seconds, show)


def _contender(record: JobRecord) -> Contender:
    subject = Subject(record.row.bundle, post=record.bench.post)
    is_ranked = record.row.status == "passed"
    return Contender(subject, record.row.manifest_sha256, is_ranked)


def rows_with_latency(rows: Sequence[JobRow], comparison: Comparison) -> list[JobRow]:
    """The rows with what was measured, or why it was not."""
    return [_row(row, str(number), comparison) for number, row in enumerate(rows)]


def _row(row: JobRow, name: str, comparison: Comparison) -> JobRow:
    if name in comparison.left_out:
        return replace(row, latency_problem=comparison.left_out[name])
    if name not in comparison.measurements:
        return row
    ranking = comparison.ranking
    is_ranked = ranking is not None and row.status == "passed"
    standing = ranking.standing(name) if ranking is not None and is_ranked else ""
    return row.with_latency(comparison.measurements[name], standing, comparison.machine)


def write_comparison(sweep: Path, comparison: Comparison) -> None:
    """Write what was measured into the sweep's folder.

    Raises:
        DeployError: the file cannot be written.
    """
    write_text(str(sweep / FILE), json.dumps(to_json(comparison), indent=2))


def job_with_latency(job: Job, latency: Measurement | None) -> Job:
    """The job with what was measured of its bundle in its report and on its own page.

    Raises:
        DeployError: its report cannot be written.
    """
    if latency is None or job.report is None:
        return job
    work = work_folder(Path(job.row.bundle))
    report = with_latency(job.report, latency)
    with lock_work_folder(work):
        write_report(work, report)
    return replace(job, report=report)
