"""The progress of a run on the console: a line per stage, the table of all, number formats."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.terminal import printable


@dataclass
class Stage:
    """One stage of a run; the stage sets its size, gap and ``from_cache`` while it runs.

    Attributes:
        name: shown to the user.
        seconds: wall-clock time.
        size: of its files in bytes, if it writes some.
        gap: ``max_rel`` to the reference, if it measures that.
        from_cache: whether the cache had its result.
    """

    name: str
    seconds: float = 0.0
    size: int | None = None
    gap: float | None = None
    from_cache: bool = False


class Progress:
    """Shows each stage while it runs, and collects the finished ones.

    Attributes:
        console: to print on; plain lines where it is no terminal.
        stages: those that have finished, in order.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Show and time a stage; a stage that raises is not listed."""
        stage = Stage(name)
        start = time.perf_counter()
        # as a text: of a string, rich would take brackets in the name for markup
        with self.console.status(Text(f"{printable(name)} ...")):
            yield stage
        stage.seconds = time.perf_counter() - start
        self.stages.append(stage)
        origin = "  from the cache" if stage.from_cache else ""
        self.console.print(f"{name:<36}{stage.seconds:8.1f} s{origin}", highlight=False)


def stage_table(stages: Sequence[Stage]) -> Table:
    """Name, seconds, size and gap of each stage, with the total time as the footer."""
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


def format_bytes(size: int | None) -> str:
    """A size in bytes for people; empty for none.

    Examples:
        >>> format_bytes(8_900_000)
        '8.9 MB'
    """
    if size is None:
        return ""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def format_error(error: float | None) -> str:
    """A relative error for people; empty for none.

    Examples:
        >>> format_error(3.14e-7)
        '3.1e-07'
    """
    return "" if error is None else f"{error:.1e}"
