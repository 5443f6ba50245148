"""The result files of a sweep: one row for every job, also for those that failed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import yaml

from deploy.report.sweep import JobRow

_JOB_RESULT = "result.json"
_TABLE = "results"
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # also as wide characters


def write_row(folder: Path, row: JobRow) -> None:
    """Write a job's row into the job's output folder."""
    (folder / _JOB_RESULT).write_text(json.dumps(asdict(row), indent=2))


def read_rows(sweep: Path) -> list[JobRow]:
    """The rows of all jobs in order; a job without a row has failed.

    Args:
        sweep: the sweep's folder, with one folder per job, named by the job's number.
    """
    folders = sorted((path for path in sweep.iterdir() if path.name.isdigit()), key=_job_number)
    return [_read_row(folder) for folder in folders]


def write_rows(sweep: Path, rows: Sequence[JobRow]) -> None:
    """Write ``results.json`` and ``results.csv`` into the sweep's folder."""
    table = [asdict(row) for row in rows]
    (sweep / f"{_TABLE}.json").write_text(json.dumps(table, indent=2))
    with (sweep / f"{_TABLE}.csv").open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.DictWriter(file, [field.name for field in fields(JobRow)])
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in table)


def _cell(value: str | float | None) -> str | float | None:
    """A value that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _job_number(folder: Path) -> int:
    return int(folder.name)


def _read_row(folder: Path) -> JobRow:
    file = folder / _JOB_RESULT
    if not file.is_file():
        return JobRow(
            _overrides(folder), error="the job ended without a result; see its output above"
        )
    return JobRow(**json.loads(file.read_text()))


def _overrides(folder: Path) -> str:
    """The overrides of a job as Hydra has saved them; else the job's number."""
    saved = folder / ".hydra" / "overrides.yaml"
    return " ".join(yaml.safe_load(saved.read_text())) if saved.is_file() else folder.name
