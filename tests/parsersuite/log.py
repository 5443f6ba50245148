"""What is done already, so that an interrupted check goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backends.codec import from_json, to_json

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A line of the log.

    Attributes:
        part: of the check.
        key: of what was asked, unique in its part.
        answer: the dataclass that came of it, in JSON.
    """

    part: str
    key: str
    answer: Any


class Log:
    """A file with one entry in each line; the last line of a killed run may be incomplete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = list(_read(path))

    def add(self, part: str, key: str, answer: object) -> None:
        """Write an answer down at once."""
        entry = Entry(part, key, to_json(answer))
        with self._path.open("a") as lines:
            print(json.dumps(to_json(entry)), file=lines)
        self._entries.append(entry)

    def keys(self, part: str) -> set[str]:
        """What was asked in a part."""
        return {entry.key for entry in self._entries if entry.part == part}

    def answers(self, part: str, kind: type[T]) -> list[T]:
        """The answers of a part."""
        entries = (entry for entry in self._entries if entry.part == part)
        return [from_json(kind, entry.answer, "the log") for entry in entries]


def _read(path: Path) -> Iterator[Entry]:
    if not path.exists():
        return
    *complete, last = path.read_text().split("\n")
    for line in complete:
        yield from_json(Entry, json.loads(line), str(path))
    if last:  # a killed run left it
        path.write_text("".join(f"{line}\n" for line in complete))
