"""Results written as JSON one after the other, so that none has to be held in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

from backends.contract import DeployError
from backends.files import atomic_write, check_regular

AddRow = Callable[[Mapping[str, Any]], None]
_STANDARD_OUTPUT = ("-", "/dev/stdout")  # which a file of this name would replace


@contextmanager
def json_array(target: str | None) -> Iterator[AddRow]:
    """A JSON array of the rows that are added in this block.

    A file is there when the block has ended without an error; on standard output the rows come at
    once.

    Args:
        target: a file, ``-`` for standard output, or None: rows go nowhere.

    Raises:
        DeployError: the file cannot be written.
    """
    if target is None:
        yield _nowhere
    elif target in _STANDARD_OUTPUT:
        with _array(sys.stdout) as add:
            yield add
    else:
        with (
            _named(target),
            atomic_write(Path(target)) as part,
            part.open("w", encoding="utf-8") as file,
            _array(file) as add,
        ):
            yield add


@contextmanager
def json_lines(target: str | None) -> Iterator[AddRow]:
    """A line of JSON for each row that is added in this block, written and flushed at once.

    Args:
        target: as of ``json_array``; what is in the file is replaced.

    Raises:
        DeployError: the file cannot be written.
    """
    if target is None:
        yield _nowhere
    elif target in _STANDARD_OUTPUT:
        yield lambda row: print(json.dumps(row), flush=True)
    else:
        with _named(target):
            check_regular(Path(target))
            with Path(target).open("w", encoding="utf-8") as file:

                def add_line(row: Mapping[str, Any]) -> None:
                    file.write(f"{json.dumps(row)}\n")
                    file.flush()

                yield add_line


def _nowhere(row: Mapping[str, Any]) -> None:
    pass


@contextmanager
def _array(file: TextIO) -> Iterator[AddRow]:
    """The rows as ``json.dumps(rows, indent=2)`` would write them."""
    count = 0

    def add(row: Mapping[str, Any]) -> None:
        nonlocal count
        file.write((",\n" if count else "[\n") + indent(json.dumps(row, indent=2), "  "))
        count += 1

    try:
        yield add
    finally:
        file.write("\n]\n" if count else "[]\n")


@contextmanager
def _named(target: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeployError(f"'{target}' cannot be written: {error.strerror}") from error
