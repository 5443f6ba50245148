"""The Hydra callback at the end of a sweep: prints and writes the table and the page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from backends.contract import DeployError
from deploy.pipeline.sweep import (
    JobRecord,
    clear_rows,
    job_folders,
    read_records,
    write_rows,
)
from deploy.pipeline.sweep_latency import (
    job_with_latency,
    measure_sweep,
    rows_with_latency,
    write_comparison,
)
from deploy.report.console import TerminalConsole, plain_console
from deploy.report.page import job_of, write_sweep
from deploy.report.progress import Progress
from deploy.report.sweep import (
    JobRow,
    Sweep,
    differing_overrides,
    latency_lines,
    shared_error,
    sweep_table,
)
from deploy.runtime.benchmark.comparison import Comparison


class SweepTable(Callback):
    """Prints and writes the table of a sweep; exit code 1 where a job failed."""

    def __init__(self) -> None:
        self._earlier: set[int] = set()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before the first job; the folder may be that of an earlier sweep."""
        sweep = Path(config.hydra.sweep.dir)
        clear_rows(sweep)
        self._earlier = job_folders(sweep)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra in the process that launched the sweep, after the last job."""
        sweep = Path(config.hydra.sweep.dir)
        records = read_records(sweep, job_folders(sweep) - self._earlier)
        rows = [record.row for record in records]
        write_rows(sweep, rows)  # they stay where what follows is cancelled
        comparison = _measure(sweep, records)
        if comparison is not None:
            rows = rows_with_latency(rows, comparison)
            write_rows(sweep, rows)
        _print_table(sweep, rows, comparison)
        _write_page(sweep, rows, comparison)
        if any(row.status == "failed" for row in rows):
            sys.exit(1)


def _measure(sweep: Path, records: Sequence[JobRecord]) -> Comparison | None:
    """Measure the bundles of all jobs; that this fails is only a warning."""
    typed = [_with_typed_code(record) for record in records]
    try:
        comparison = measure_sweep(typed, Progress(TerminalConsole(soft_wrap=True)))
    except (DeployError, OSError) as error:
        print(f"warning: the latencies are not measured: {error}", file=sys.stderr)
        return None
    if comparison is not None:
        try:
            write_comparison(sweep, comparison)
        except DeployError as error:
            print(f"warning: the rounds are not written: {error}", file=sys.stderr)
    return comparison


def _with_typed_code(record: JobRecord) -> JobRecord:
    """The record without code that is not on this command line: it comes from a file."""
    module = (record.bench.post or "").partition(":")[0]
    if any(module in word for word in sys.argv[1:]):
        return record
    return replace(record, bench=replace(record.bench, post=None))


def _print_table(sweep: Path, rows: Sequence[JobRow], comparison: Comparison | None) -> None:
    console = plain_console()
    console.print("", sweep_table(rows), "", sep="\n")
    if comparison is not None:
        for line in latency_lines(comparison, differing_overrides(rows)):
            console.print(line, highlight=False, soft_wrap=True)
    if error := shared_error(rows):
        print(f"error of all {len(rows)} jobs: {error}", file=sys.stderr)
    console.print(
        f"table: {sweep / 'results.json'} and results.csv", highlight=False, soft_wrap=True
    )


def _write_page(sweep: Path, rows: Sequence[JobRow], comparison: Comparison | None = None) -> None:
    """Write the page of all jobs; that this fails is only a warning."""
    command = shlex.join(["python", "-m", "deploy", *sys.argv[1:]])
    ended = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    measured = comparison.measurements if comparison is not None else {}
    try:
        jobs = map(job_of, rows, differing_overrides(rows), repeat(sweep))
        shown = tuple(
            job_with_latency(job, measured.get(str(number))) for number, job in enumerate(jobs)
        )
        page = write_sweep(sweep, Sweep(shown, command, ended, comparison))
    except (DeployError, OSError) as error:
        print(f"warning: the sweep's report is not written: {error}", file=sys.stderr)
        return
    plain_console().print(f"report: {page}", highlight=False, soft_wrap=True)
