"""The command line of ``scripts/bench pages``."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from backends.files import atomic_write
from tests.measured.blocks import INDEX, marked, parts_of, state, with_parts
from tests.measured.tables import (
    Record,
    Table,
    checked_out,
    lacking,
    new_record,
    read_records,
    read_tables,
    write_records,
)

PYTHON = ".venv/bin/python"  # of a command: the Python that runs this one
LOGS = Path("runs", "pages")
DESCRIPTION = """\
Measure the tables of docs/benchmarks again, and rewrite their pages.

    .venv/bin/python scripts/bench pages              # all of them
    .venv/bin/python scripts/bench pages host chain   # these
    .venv/bin/python scripts/bench pages --within 15  # those that take at most 15 minutes each
    .venv/bin/python scripts/bench pages --list       # what there is, how old, how long it takes
    .venv/bin/python scripts/bench pages --mark       # mark figures that are older than the code

The short ones come first. Each is replaced when its commands have succeeded; what they print is
kept in runs/pages. The exit code is 1 where one failed. docs/benchmarks/tables.toml describes them.
"""


def main(arguments: Sequence[str], root: Path) -> int:
    """Do what the command line asks for in a checkout; 1 if a measurement failed."""
    options = _parser().parse_args(arguments)
    tables = read_tables(root)
    chosen = [_known(name, tables) for name in options.names or tables]
    chosen = [table for table in chosen if table.minutes <= options.within]
    if options.list:
        _print_list(chosen, root)
        return 0
    failed = [] if options.mark else _measure_all(chosen, root)
    write_marks(root)
    for name in failed:
        print(f"FAILED {name}: its figures are the old ones")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench pages",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument(
        "--within", type=float, default=math.inf, metavar="MINUTES", help="of each; no longer ones"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--list", action="store_true", help="name, page, minutes, day and state")
    only.add_argument("--mark", action="store_true", help="measure nothing, correct the marks")
    return parser


def _known(name: str, tables: Mapping[str, Table]) -> Table:
    if name not in tables:
        near = ", ".join(difflib.get_close_matches(name, tables)) or ", ".join(tables)
        raise SystemExit(f"error: no measurement is called '{name}'; there is {near}")
    return tables[name]


def _print_list(chosen: Iterable[Table], root: Path) -> None:
    records = read_records(root)
    rows = [("name", "page", "minutes", "measured on", "state")]
    for table in chosen:
        record = records.get(table.name, Record())
        told = state(table, record, root)
        rows.append((table.name, table.page, f"{table.minutes:g}", record.date, told))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _measure_all(chosen: Sequence[Table], root: Path) -> list[str]:
    """The names of those that failed."""
    ordered = sorted(chosen, key=lambda table: table.minutes)
    minutes = sum(table.minutes for table in ordered)
    names = ", ".join(table.name for table in ordered) or "nothing"
    print(f"to measure: {names}; about {minutes:g} minutes in all", flush=True)
    for table in ordered:  # what is wrong is told before hours are spent
        table.digests(root)
        if error := lacking(table):
            print(error, flush=True)
    commit = checked_out(root)
    return [table.name for table in ordered if not _measured(table, root, commit)]


def _measured(table: Table, root: Path, commit: str) -> bool:
    """Whether an entry was measured, and its page and record are new."""
    print(f"{table.name} ... about {table.minutes:g} minutes", flush=True)
    start = time.monotonic()
    try:
        record = new_record(root, table, commit)
        parts = parts_of(_output(table, root))
        page = root / "docs" / table.page
        _write(page, with_parts(page.read_text(), table.name, parts))
    except (SystemExit, OSError) as error:  # a program that cannot be started, a full disk
        print(error, flush=True)
        return False
    write_records(root, {**read_records(root), table.name: record})
    write_marks(root)
    print(f"{table.name}: {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    return True


def _output(table: Table, root: Path) -> str:
    """What the commands print, which is kept, and beside it what they report.

    Raises:
        SystemExit: one of them failed.
    """
    log = root / LOGS / f"{table.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = (str(root), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("w") as output, log.with_suffix(".log").open("w") as errors:
        for command in table.commands:
            words = [sys.executable if word == PYTHON else word for word in shlex.split(command)]
            done = subprocess.run(
                words, cwd=root, env=environment, stdout=output, stderr=errors, check=False
            )
            if done.returncode:
                told = f"ended with {done.returncode}; see {LOGS / log.stem}.txt and .log"
                raise SystemExit(f"error: '{command}' {told}")
            print(file=output, flush=True)  # the parts of two commands are not one
    return log.read_text()


def write_marks(root: Path) -> None:
    """Bring what every page says of its measurements up to date."""
    for page, text in marked_pages(root).items():
        if text != page.read_text():
            _write(page, text)


def marked_pages(root: Path) -> dict[Path, str]:
    """Every page with a generated block, as it should be."""
    tables, records = read_tables(root), read_records(root)
    pages = {root / "docs" / table.page for table in tables.values()} | {root / INDEX}
    return {page: marked(page.read_text(), root, tables, records) for page in sorted(pages)}


def _write(page: Path, text: str) -> None:
    with atomic_write(page) as file:
        file.write_text(text)
