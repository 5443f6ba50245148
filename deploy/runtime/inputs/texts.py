"""Texts line by line, from files and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import BinaryIO

from backends.files import not_regular
from deploy.runtime.inputs.sources import InputError, Source

_LONGEST = 1 << 20  # bytes of a line


def read_texts(source: Source) -> Iterator[tuple[int, str]]:
    """The number and the text of each line that is not empty.

    Args:
        source: a file of texts, or standard input.

    Raises:
        InputError: there is none, a line is too long, or it is not UTF-8.
    """
    if source.kind == "standard input":
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError(
                "standard input",
                expected="a text in each line",
                got="a terminal",
                do="Redirect a file to it, or pass --text TEXT.",
            )
        yield from _lines("standard input", sys.stdin.buffer)
        return
    name = f"texts '{source.name}'"
    if got := not_regular(source.path):
        raise InputError(name, expected="a file", got=got)
    try:
        with source.path.open("rb") as file:
            yield from _lines(name, file)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error


def _lines(name: str, file: BinaryIO) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(_LONGEST + 1):
        number += 1
        where = f"{name}, line {number}"
        if len(line) > _LONGEST:
            raise InputError(where, expected=f"at most {_LONGEST:,} bytes", got="more")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(where, expected="UTF-8", got="another encoding") from None
        if text:
            yield number, text
