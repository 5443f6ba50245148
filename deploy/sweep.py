"""A sweep's closing table: one row for every job, also those that failed."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from backends.contract import DeployError
from deploy.progress import as_gap, in_bytes, plain_console
from deploy.reporting.sweeps import Sweep
from deploy.reporting.writing import job_of, write_sweep
from deploy.rows import Row, differences

_ROW = "result.json"


def write_row(folder: Path, row: Row) -> None:
    """Leave a job's row in its output folder, for the table at the end."""
    (folder / _ROW).write_text(json.dumps(asdict(row), indent=2))


def read_rows(sweep: Path) -> list[Row]:
    """The rows of all jobs, in order; a job that left none has failed."""
    folders = sorted((path for path in sweep.iterdir() if path.name.isdigit()), key=_number)
    return [_read_row(folder) for folder in folders]


def write_rows(sweep: Path, rows: Sequence[Row]) -> None:
    """Write ``results.json`` and ``results.csv`` into the sweep's folder."""
    table = [asdict(row) for row in rows]
    (sweep / "results.json").write_text(json.dumps(table, indent=2))
    with (sweep / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(table)


def sweep_table(rows: Sequence[Row]) -> Table:
    """Backend, latency, size, gap and mAP of every job, or its error."""
    table = Table(box=None, pad_edge=False)
    for name in ("job", "backend", "status"):
        table.add_column(name, overflow="fold")
    known = [name for row in rows for name, score in row.scores.items() if score is not None]
    evaluated = list(dict.fromkeys(known))
    numbers = ["p50 ms", "p90 ms", "size", "gap", *evaluated]
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for row, job in zip(rows, differences(rows), strict=True):
        table.add_row(
            job,
            row.backend,
            row.status,
            _decimals(row.p50_ms, 2),
            _decimals(row.p90_ms, 2),
            in_bytes(row.size),
            as_gap(row.gap),
            *(_decimals(row.scores[name], 3) for name in evaluated),
            row.error.splitlines()[0] if row.error else "",
        )
    return table


class SweepTable(Callback):
    """Hydra's end of a sweep: print and write the table, and fail when a job did."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra in the process that launched the sweep."""
        sweep = Path(config.hydra.sweep.dir)
        rows = read_rows(sweep)
        write_rows(sweep, rows)
        console = plain_console()
        console.print("", sweep_table(rows), "", sep="\n")
        console.print(
            f"table: {sweep / 'results.json'} and results.csv", highlight=False, soft_wrap=True
        )
        _write_page(sweep, rows)
        if any(row.status == "failed" for row in rows):
            sys.exit(1)


def _write_page(sweep: Path, rows: Sequence[Row]) -> None:
    """The page over all jobs; the table stands without it too."""
    command = shlex.join(["python", "-m", "deploy", *sys.argv[1:]])
    ended = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    try:
        jobs = tuple(map(job_of, rows, differences(rows), repeat(sweep)))
        page = write_sweep(sweep, Sweep(jobs, command, ended))
    except (DeployError, OSError) as error:
        print(f"warning: the sweep's report is not written: {error}", file=sys.stderr)
        return
    plain_console().print(f"report: {page}", highlight=False, soft_wrap=True)


def _read_row(folder: Path) -> Row:
    file = folder / _ROW
    if not file.is_file():
        return Row(_overrides(folder), error="the job ended without a result; see its output above")
    return Row(**json.loads(file.read_text()))


def _overrides(folder: Path) -> str:
    saved = folder / ".hydra" / "overrides.yaml"
    return " ".join(OmegaConf.load(saved)) if saved.is_file() else folder.name


def _number(folder: Path) -> int:
    return int(folder.name)


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
