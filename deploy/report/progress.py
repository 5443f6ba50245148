"""What a person sees: a line per stage while it runs, and a closing table."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

_PLAIN_WIDTH = 140


@dataclass
class Stage:
    """One stage of a run; the stage itself fills in its size in bytes and its gap.

    ``kept`` is whether its result was in the cache.
    """

    name: str
    seconds: float = 0.0
    size: int | None = None
    gap: float | None = None
    kept: bool = False


class Progress:
    """Shows each stage while it runs and remembers it; plain lines when not at a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage; it is listed only when it ends well."""
        stage = Stage(name)
        start = time.perf_counter()
        with self.console.status(f"{name} ..."):
            yield stage
        stage.seconds = time.perf_counter() - start
        self.stages.append(stage)
        kept = "  from the cache" if stage.kept else ""
        self.console.print(f"{name:<36}{stage.seconds:8.1f} s{kept}", highlight=False)


def stage_table(stages: Sequence[Stage]) -> Table:
    """Stage, seconds, size and gap, with the total time at the end."""
    table = Table("stage", show_footer=True, box=None, pad_edge=False)
    table.columns[0].footer = "total"
    total = sum(stage.seconds for stage in stages)
    table.add_column("seconds", f"{total:.1f}", justify="right")
    table.add_column("size", justify="right")
    table.add_column("gap", justify="right")
    for stage in stages:
        table.add_row(
            stage.name, f"{stage.seconds:.1f}", format_bytes(stage.size), format_error(stage.gap)
        )
    return table


def plain_console() -> Console:
    """A console for tables; in a file or a log it is wide enough for them."""
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)


def format_bytes(size: int | None) -> str:
    """Such as ``8.9 MB``."""
    if size is None:
        return ""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def format_error(gap: float | None) -> str:
    """Such as ``3.1e-07``."""
    return "" if gap is None else f"{gap:.1e}"
