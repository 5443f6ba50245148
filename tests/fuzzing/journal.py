"""Outcomes of a campaign on the disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tests.fuzzing.campaign import Outcome

_NAME = "outcomes.jsonl"


def read_journal(folder: Path, seed: int) -> list[Outcome]:
    """The outcomes of an earlier run with the same seed; a half-written last line is left out."""
    path = folder / _NAME
    lines = path.read_text().splitlines() if path.exists() else []
    if not lines or json.loads(lines[0]) != {"seed": seed}:
        return []
    return list(_outcomes(lines[1:]))


def _outcomes(lines: list[str]) -> Iterator[Outcome]:
    for line in lines:
        try:
            stored = json.loads(line)
        except ValueError:
            return
        yield Outcome(**{**stored, "changes": tuple(stored["changes"])})


@contextmanager
def open_journal(folder: Path, seed: int, earlier: list[Outcome]) -> Iterator[IO[str]]:
    """A journal with these outcomes, to which more are written with ``note``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _NAME).open("w") as journal:
        journal.write(json.dumps({"seed": seed}) + "\n")
        for outcome in earlier:
            note(journal, outcome)
        yield journal


def note(journal: IO[str], outcome: Outcome) -> None:
    """Write one outcome."""
    journal.write(json.dumps(asdict(outcome)) + "\n")
    journal.flush()
