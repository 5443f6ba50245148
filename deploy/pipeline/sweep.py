"""The results of a sweep: one row for every job, also those that failed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from omegaconf import OmegaConf

from deploy.report.sweep import JobRow

_ROW = "result.json"


def write_row(folder: Path, row: JobRow) -> None:
    """Leave a job's row in its output folder, for the table at the end."""
    (folder / _ROW).write_text(json.dumps(asdict(row), indent=2))


def read_rows(sweep: Path) -> list[JobRow]:
    """The rows of all jobs, in order; a job that left none has failed."""
    folders = sorted((path for path in sweep.iterdir() if path.name.isdigit()), key=_number)
    return [_read_row(folder) for folder in folders]


def write_rows(sweep: Path, rows: Sequence[JobRow]) -> None:
    """Write ``results.json`` and ``results.csv`` into the sweep's folder."""
    table = [asdict(row) for row in rows]
    (sweep / "results.json").write_text(json.dumps(table, indent=2))
    with (sweep / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(JobRow)])
        writer.writeheader()
        writer.writerows(table)


def _read_row(folder: Path) -> JobRow:
    file = folder / _ROW
    if not file.is_file():
        return JobRow(
            _overrides(folder), error="the job ended without a result; see its output above"
        )
    return JobRow(**json.loads(file.read_text()))


def _overrides(folder: Path) -> str:
    saved = folder / ".hydra" / "overrides.yaml"
    return " ".join(OmegaConf.load(saved)) if saved.is_file() else folder.name


def _number(folder: Path) -> int:
    return int(folder.name)
