"""The result files of a sweep: one row for every job, also for those that failed."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from backends.codec import from_json
from backends.files import atomic_write
from deploy.report.sweep import JobRow, error_reason

_ROWS = "jobs"  # the folder of the rows, each in a file with its job's number
_TABLE = "results"
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # also as wide characters


@dataclass(frozen=True)
class JobBench:
    """How a job wants its bundle to be measured at the end of the sweep.

    Attributes:
        rounds: 0 where it is not.
        seconds: in all rounds together.
        post: a post-processing step of the user's own that it needs, as a word of ``--post``.
    """

    rounds: int = 0
    seconds: float = 0.0
    post: str | None = None


@dataclass(frozen=True)
class JobRecord:
    """What a job leaves for the end of its sweep."""

    row: JobRow
    bench: JobBench = JobBench()


def write_record(sweep: Path, number: int, record: JobRecord) -> None:
    """Write what a job leaves.

    Args:
        sweep: the sweep's folder.
        number: of the job, from 0 up.
        record: its result.
    """
    (sweep / _ROWS).mkdir(exist_ok=True)
    with atomic_write(sweep / _ROWS / f"{number}.json") as part:
        part.write_text(json.dumps(asdict(record), indent=2))


def clear_rows(sweep: Path) -> None:
    """Remove the rows of an earlier sweep into the same folder."""
    for path in _numbered(sweep / _ROWS).values():
        path.unlink()


def job_folders(sweep: Path) -> set[int]:
    """The numbers of the jobs that have a folder, unless a sweep names its folders otherwise."""
    return set(_numbered(sweep))


def read_records(sweep: Path, started: Collection[int] = ()) -> list[JobRecord]:
    """The records of all jobs in order; a job without one has failed.

    Args:
        sweep: the sweep's folder.
        started: numbers of jobs that are known to have started.
    """
    records = {number: _read_record(path) for number, path in _numbered(sweep / _ROWS).items()}
    count = max([*records, *started], default=-1) + 1
    return [records.get(number) or _lost_job(sweep / str(number)) for number in range(count)]


def job_with_error(sweep: Path, problem: str) -> int | None:
    """The number of the first job so far that has failed for the same reason, if there is one."""
    said = error_reason(problem)
    for number, path in sorted(_numbered(sweep / _ROWS).items()):
        if error_reason(_read_record(path).row.error) == said:
            return number
    return None


def write_rows(sweep: Path, rows: Sequence[JobRow]) -> None:
    """Write ``results.json`` and ``results.csv`` into the sweep's folder."""
    table = [row.flat() for row in rows]
    names = dict.fromkeys(name for row in table for name in row)
    (sweep / f"{_TABLE}.json").write_text(json.dumps(table, indent=2))
    with (sweep / f"{_TABLE}.csv").open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.DictWriter(file, [*names])
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


def _numbered(folder: Path) -> dict[int, Path]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(path.stem): path for path in paths if path.stem.isdecimal()}


def _read_record(path: Path) -> JobRecord:
    return from_json(JobRecord, json.loads(path.read_text()), path.name)


def _lost_job(folder: Path) -> JobRecord:
    error = "the job ended without a result; see its output above"
    return JobRecord(JobRow(_overrides(folder), error=error))


def _overrides(folder: Path) -> str:
    """The overrides of a job as Hydra has saved them; else the job's number."""
    saved = folder / ".hydra" / "overrides.yaml"
    return shlex.join(yaml.safe_load(saved.read_text())) if saved.is_file() else folder.name
