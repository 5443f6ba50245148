"""A sweep: one row for each job, the table of all rows, and the data of the sweep's page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from deploy.report.data import PictureView, Report
from deploy.report.progress import format_bytes, format_error
from deploy.runtime.accuracy.evaluation import NotedScore, score_notes
from deploy.runtime.benchmark.comparison import Comparison
from deploy.runtime.benchmark.machine_state import (
    MachineState,
    describe_machine,
    slowed_down,
)
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.ranking import NOISE, Ranking, describe_fastest
from deploy.runtime.latency import PartLatency

_DETAIL, _ERROR = "    ", "error: "  # of the lines that a process has left
_ENDING = re.compile(r"exit code [1-9]\d*(?=$|,)")


@dataclass(frozen=True)
class DeviceRow:
    """What one of several devices has measured of a job's bundle; as of ``JobRow``."""

    name: str
    status: str
    p50_ms: float | None = None
    p90_ms: float | None = None
    gap: float | None = None
    error: str = ""


@dataclass(frozen=True)
class JobRow:
    """The result of one job; a row of ``results.json`` and ``results.csv``.

    Latency is in milliseconds and size in bytes; ``gap`` is the chain's largest ``max_rel``.

    Attributes:
        p50_low_ms: the least p50 of the rounds that the bundle was measured in.
        p50_high_ms: the largest.
        noise: whether these rounds disagree with each other.
        standing: fastest, tied, slower or undecided, where bundles were measured in turns.
        latency_problem: why the latency was not measured.
        device: where it was measured; empty where that is the desk alone.
        slowed_down: what slowed the machine down meanwhile.
        joules: of a call, where the machine meters its energy.
        devices: of a job with several devices what each has measured; the row is the desk's then.
        manifest_sha256: of the bundle, of which accuracy and latency are.
    """

    job: str
    model: str = ""
    backend: str = ""
    status: str = "failed"
    p50_ms: float | None = None
    p90_ms: float | None = None
    min_ms: float | None = None
    p50_low_ms: float | None = None
    p50_high_ms: float | None = None
    noise: bool | None = None
    standing: str = ""
    latency_problem: str = ""
    device: str = ""
    slowed_down: str = ""
    joules: float | None = None
    devices: tuple[DeviceRow, ...] = ()
    size: int | None = None
    gap: float | None = None
    scores: tuple[NotedScore, ...] = ()
    bundle: str = ""
    manifest_sha256: str = ""
    error: str = ""

    def score(self, title: str) -> NotedScore | None:
        """The score of this title, if the job has it."""
        return next((score for score in self.scores if score.title == title), None)

    def flat(self) -> dict[str, Any]:
        """The row as plain values by name: ``map`` and ``torch_map`` are scores.

        Of several devices each has columns of its own, such as ``pi_p50_ms``.
        """
        values = asdict(self)
        del values["scores"], values["devices"]
        for device in self.devices:
            figures = asdict(device)
            name = figures.pop("name")
            values |= {f"{name}_{key}": value for key, value in figures.items()}
        for score in self.scores:
            values |= score_notes({score.name: score.chain}, {score.name: score.reference})
        return values

    @property
    def latency_flags(self) -> list[str]:
        """Words that a reader of the latency needs."""
        noise = ["noise"] if self.noise else []
        standing = [self.standing] if self.standing not in ("", "slower") else []
        slowed = [self.slowed_down] if self.slowed_down else []
        return [*standing, *noise, *slowed, *(["not measured"] if self.latency_problem else [])]

    @property
    def round_range(self) -> str:
        """The least and the largest p50 of the rounds in milliseconds; empty where there are none.

        Examples:
            >>> JobRow("a", p50_low_ms=13.811, p50_high_ms=14.4).round_range
            '13.81 to 14.40'
        """
        if self.p50_low_ms is None or self.p50_high_ms is None:
            return ""
        return f"{self.p50_low_ms:.2f} to {self.p50_high_ms:.2f}"

    def with_latency(
        self, latency: Measurement, standing: str = "", machine: Sequence[MachineState] = ()
    ) -> JobRow:
        """The row with what was measured.

        Args:
            latency: of the bundle.
            standing: beside others that were measured in turns with it.
            machine: in each of these turns, if there were others.
        """
        return replace(
            self,
            p50_ms=latency.total.p50,
            p90_ms=latency.total.p90,
            min_ms=latency.total.min,
            p50_low_ms=min(latency.rounds),
            p50_high_ms=max(latency.rounds),
            noise=latency.is_noise,
            standing=standing,
            slowed_down=", ".join(slowed_down(machine or latency.machine)),
            joules=latency.joules,
        )


def score_titles(rows: Sequence[JobRow], most: int) -> list[str]:
    """The titles of at most so many scores that any row has, the most important one first."""
    return list(dict.fromkeys(score.title for row in rows for score in row.scores))[:most]


def differing_overrides(rows: Sequence[JobRow]) -> list[str]:
    """For each job those of its overrides that not all jobs have."""
    overrides = [_words(row.job) for row in rows]
    shared = set(overrides[0]).intersection(*overrides) if len(overrides) > 1 else set()
    return [" ".join(word for word in job if word not in shared) for job in overrides]


def _words(job: str) -> list[str]:
    try:
        return shlex.split(job)
    except ValueError:  # of a job that another program has noted
        return job.split()


def error_reason(error: str) -> str:
    r"""What an error of several lines says: its first line, with the reason of a process's end.

    Examples:
        >>> error = ["cannot convert 'head': exit code 1", "    error: no operator Foo", "  Repeat"]
        >>> error_reason("\n".join(error))
        "cannot convert 'head': no operator Foo"
    """
    first, *details = error.splitlines() or [""]
    ending = _ENDING.search(first)
    said = [line.strip() for line in details if line.startswith(_DETAIL) and line.strip()]
    if ending is None or not said:
        return first
    named = [line for line in said if line.startswith(_ERROR)]
    return f"{first[: ending.start()]}{(named or said)[-1].removeprefix(_ERROR)}"


def shared_error(rows: Sequence[JobRow]) -> str:
    """The reason for which every job has failed, where there are several and one reason."""
    reasons = {error_reason(row.error) for row in rows}
    return reasons.pop() if len(rows) > 1 and len(reasons) == 1 else ""


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        label: the overrides that not all jobs have.
        row: its result.
        page: the address of its own page; empty where it has none.
        report: the data of that page.
    """

    label: str
    row: JobRow
    page: str = ""
    report: Report | None = None

    @property
    def title(self) -> str:
        """Its backend and its label."""
        return ": ".join(filter(None, (self.row.backend, self.label)))

    @property
    def pictures(self) -> tuple[PictureView, ...]:
        """The pictures of its report."""
        return self.report.pictures if self.report else ()

    @property
    def total(self) -> PartLatency | None:
        """The total latency, if it was measured: at the desk, or on its only device."""
        if self.report is None:
            return None
        if self.report.latency:
            return self.report.latency[-1]
        records = [view.record for view in self.report.devices]
        used = records[0].used if len(records) == 1 and records[0] else None
        return used.total if used else None


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        jobs: in order.
        command: its command line, quoted for a shell.
        ended: when.
        comparison: the latencies of the jobs' bundles, measured in turns; by the job's number.
    """

    jobs: tuple[Job, ...]
    command: str
    ended: str
    comparison: Comparison | None = None

    @property
    def scores(self) -> list[str]:
        """The titles of the scores that the table shows."""
        return score_titles([job.row for job in self.jobs], most=2)

    @property
    def slowest(self) -> float:
        """The largest p99 of all jobs in milliseconds."""
        return max((job.total.p99 for job in self.jobs if job.total), default=0.0)

    @property
    def failed(self) -> tuple[Job, ...]:
        """The jobs that failed."""
        return tuple(job for job in self.jobs if job.row.status == "failed")


def sweep_table(rows: Sequence[JobRow]) -> Table:
    """Backend, status, latency, size, gap and score of every job, or the reason of its failure.

    The reason that all jobs share is left out: see ``shared_error``.
    """
    shared = shared_error(rows)
    table = Table(box=None, pad_edge=False)
    has_devices = any(row.device for row in rows)
    for title in ("job", "backend", *(["device"] if has_devices else []), "status"):
        table.add_column(title, overflow="fold")
    titles = score_titles(rows, most=1)
    for title in ("p50 ms", "rounds"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in ("p90 ms", "size", "gap", *titles):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for row, label in zip(rows, differing_overrides(rows), strict=True):
        table.add_row(
            label,
            row.backend,
            *([row.device] if has_devices else []),
            row.status,
            _format_decimals(row.p50_ms, 2),
            row.round_range,
            ", ".join(row.latency_flags),
            _format_decimals(row.p90_ms, 2),
            format_bytes(row.size),
            format_error(row.gap),
            *(_format_score(row.score(title)) for title in titles),
            "" if shared else error_reason(row.error),
        )
    return table


def latency_lines(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """What was measured in turns, who is fastest, and what the marks of the table mean.

    Args:
        comparison: by the job's number.
        names: of the jobs, in order.
    """
    measured, rounds = comparison.measurements, len(comparison.machine)
    left_out = [
        f"not measured: {names[int(number)] or f'job {number}'}: {error_reason(reason)}"
        for number, reason in comparison.left_out.items()
    ]
    if not measured:
        return left_out
    lines = [] if comparison.ranking is None else [fastest_line(comparison.ranking, names)]
    if any(one.is_noise for one in measured.values()):
        lines.append(
            f"noise: the middle half of the rounds lies more than {NOISE:.0%} of their median apart"
        )
    bundles = f"{len(measured)} bundle{'s' if len(measured) > 1 else ''}"
    return [
        *lines,
        *left_out,
        f"measured: {bundles} in turns, {rounds} rounds, host steps in NumPy; p50 is the median of "
        "the rounds",
        f"machine: {describe_machine(comparison.machine)}",
    ]


def fastest_line(ranking: Ranking, names: Sequence[str]) -> str:
    """Which job's bundle is the fastest, or which cannot be told apart."""
    labels = {str(number): name or f"job {number}" for number, name in enumerate(names)}
    return describe_fastest(ranking, labels)


def _format_score(score: NotedScore | None) -> str:
    return "" if score is None else f"{score.chain:.3f}, model {score.reference:.3f}"


def _format_decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
