"""The Hydra callback at the end of a sweep: prints and writes the table and the page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from backends.contract import DeployError
from deploy.pipeline.sweep import clear_rows, job_folders, read_rows, write_rows
from deploy.report.console import plain_console
from deploy.report.page import job_of, write_sweep
from deploy.report.sweep import (
    JobRow,
    Sweep,
    differing_overrides,
    shared_error,
    sweep_table,
)


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
        rows = read_rows(sweep, job_folders(sweep) - self._earlier)
        write_rows(sweep, rows)
        console = plain_console()
        console.print("", sweep_table(rows), "", sep="\n")
        if error := shared_error(rows):
            print(f"error of all {len(rows)} jobs: {error}", file=sys.stderr)
        console.print(
            f"table: {sweep / 'results.json'} and results.csv", highlight=False, soft_wrap=True
        )
        _write_page(sweep, rows)
        if any(row.status == "failed" for row in rows):
            sys.exit(1)


def _write_page(sweep: Path, rows: Sequence[JobRow]) -> None:
    """Write the page of all jobs; that this fails is only a warning."""
    command = shlex.join(["python", "-m", "deploy", *sys.argv[1:]])
    ended = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        jobs = tuple(map(job_of, rows, differing_overrides(rows), repeat(sweep)))
        page = write_sweep(sweep, Sweep(jobs, command, ended))
    except (DeployError, OSError) as error:
        print(f"warning: the sweep's report is not written: {error}", file=sys.stderr)
        return
    plain_console().print(f"report: {page}", highlight=False, soft_wrap=True)
