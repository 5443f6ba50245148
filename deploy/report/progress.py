"""The progress of a run on the console: a line per stage, the table of all, number formats."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.terminal import OutputEndedError, printable

_LONG = 3.0  # seconds from which on a stage says what it does


@dataclass
class Stage:
    """One stage of a run; the stage sets its size, gap and ``from_cache`` while it runs.

    Attributes:
        name: shown to the user.
        activity: what the stage does, shown while it runs.
        seconds: wall-clock time, from the end of the stage before.
        size: of its files in bytes, if it writes some.
        gap: ``max_rel`` to the reference, if it measures that.
        from_cache: whether the cache had its result.
    """

    name: str
    activity: str = ""
    seconds: float = 0.0
    size: int | None = None
    gap: float | None = None
    from_cache: bool = False


class Progress:
    """Shows each stage while it runs, and collects the finished ones.

    The stages follow each other without a gap, so that their seconds add up to those of the run.

    Attributes:
        console: to print on; plain lines where it is no terminal.
        stages: those that have finished, in order.

    Args:
        console: as above.
        started: when the run began, by ``time.perf_counter``; now by default.
    """

    def __init__(self, console: Console, started: float | None = None) -> None:
        self.console = console
        self.stages: list[Stage] = []
        self._ended = time.perf_counter() if started is None else started

    @contextmanager
    def stage(self, name: str, activity: str = "") -> Iterator[Stage]:
        """Show and time a stage; a stage that raises is not listed."""
        stage = Stage(name, activity)
        with self._shown(stage):
            yield stage
        now = time.perf_counter()
        stage.seconds, self._ended = now - self._ended, now
        self.stages.append(stage)
        origin = "  from the cache" if stage.from_cache else ""
        self.console.print(f"{name:<36}{stage.seconds:8.1f} s{origin}", highlight=False)

    @contextmanager
    def _shown(self, stage: Stage) -> Iterator[None]:
        """On a terminal a live line; elsewhere one line, if the stage takes long."""
        live = _LiveStage(stage, self._ended)
        if self.console.is_terminal:
            with self.console.status(live):
                yield
            return

        def print_line() -> None:
            with suppress(OutputEndedError):  # the next line of the program raises it once more
                self.console.print(live.text(), highlight=False)

        timer = threading.Timer(_LONG, print_line)
        timer.daemon = True
        if stage.activity:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _LiveStage:
    """What a terminal shows of a stage while it runs."""

    def __init__(self, stage: Stage, start: float) -> None:
        self._stage = stage
        self._start = start

    def text(self) -> Text:
        """The name and the activity; a text, since rich would take brackets for markup."""
        parts = (f"{self._stage.name} ...", self._stage.activity)
        return Text(printable(" ".join(filter(None, parts))))

    def __rich__(self) -> Text:
        seconds = time.perf_counter() - self._start
        return self.text() if seconds < 1 else self.text().append(f" ({seconds:.0f} s)")


def process_start() -> float:
    """When this process started, by ``time.perf_counter``; where that is unknown, by its CPU time.

    Importing libraries before the first line of a program takes seconds too.
    """
    return time.perf_counter() - _process_age()


def _process_age() -> float:
    try:
        # after the name in parentheses, which may hold anything: the 20th field, in clock ticks
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        start = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - start, 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()


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
        >>> format_bytes(48)
        '48 B'
    """
    if size is None:
        return ""
    if size < 1e3:
        return f"{size} B"
    factor, unit = (1e9, "GB") if size >= 1e9 else (1e6, "MB") if size >= 1e5 else (1e3, "kB")
    return f"{size / factor:.1f} {unit}"


def format_error(error: float | None) -> str:
    """A relative error for people; empty for none.

    Examples:
        >>> format_error(3.14e-7)
        '3.1e-07'
    """
    return "" if error is None else f"{error:.1e}"
