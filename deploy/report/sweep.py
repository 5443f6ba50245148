"""One job of a sweep as a row, and the table and page data of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from deploy.report.data import PictureView, Report
from deploy.report.progress import format_bytes, format_error
from deploy.runtime.latency import PartLatency


@dataclass(frozen=True)
class JobRow:
    """One job of a sweep; latency in milliseconds, size in bytes."""

    job: str
    model: str = ""
    backend: str = ""
    status: str = "failed"
    p50_ms: float | None = None
    p90_ms: float | None = None
    size: int | None = None
    gap: float | None = None
    map_50: float | None = None
    map_50_95: float | None = None
    torch_map_50_95: float | None = None
    mask_map_50: float | None = None
    mask_map_50_95: float | None = None
    torch_mask_map_50_95: float | None = None
    bundle: str = ""
    error: str = ""

    @property
    def scores(self) -> dict[str, float | None]:
        """What the table shows of how well things are found."""
        return {
            "mAP": self.map_50_95,
            "PyTorch": self.torch_map_50_95,
            "mask mAP": self.mask_map_50_95,
            "PyTorch masks": self.torch_mask_map_50_95,
        }


def differences(rows: Sequence[JobRow]) -> list[str]:
    """Of each job's overrides those that not all jobs have."""
    overrides = [row.job.split() for row in rows]
    shared = set(overrides[0]).intersection(*overrides) if len(overrides) > 1 else set()
    return [" ".join(one for one in job if one not in shared) for job in overrides]


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        label: the words of its command line that not all jobs have.
        row: what came of it.
        page: its own page, as a path from the sweep's folder; nothing where it has none.
        report: what that shows.
    """

    label: str
    row: JobRow
    page: str = ""
    report: Report | None = None

    @property
    def title(self) -> str:
        """Where it ran, and what sets it apart."""
        return ": ".join(filter(None, (self.row.backend, self.label)))

    @property
    def sightings(self) -> tuple[PictureView, ...]:
        """Its pictures."""
        return self.report.sightings if self.report else ()

    @property
    def total(self) -> PartLatency | None:
        """The latency of the whole."""
        return self.report.latency[-1] if self.report and self.report.latency else None


@dataclass(frozen=True)
class Sweep:
    """A sweep: its jobs in order, its command line quoted for a shell, and when it ended."""

    jobs: tuple[Job, ...]
    command: str
    ended: str

    @property
    def scored(self) -> list[str]:
        """The scores that any job has."""
        known = [
            name for job in self.jobs for name, score in job.row.scores.items() if score is not None
        ]
        return list(dict.fromkeys(known))

    @property
    def slowest(self) -> float:
        """The largest p99 of all jobs, in milliseconds."""
        return max((job.total.p99 for job in self.jobs if job.total), default=0.0)

    @property
    def failed(self) -> tuple[Job, ...]:
        """The jobs that failed."""
        return tuple(job for job in self.jobs if job.row.status == "failed")


def sweep_table(rows: Sequence[JobRow]) -> Table:
    """Backend, latency, size, gap and mAP of every job, or its error."""
    table = Table(box=None, pad_edge=False)
    for name in ("job", "backend", "status"):
        table.add_column(name, overflow="fold")
    known = [name for row in rows for name, score in row.scores.items() if score is not None]
    evaluated = list(dict.fromkeys(known))
    numbers = ["p50 ms", "p90 ms", "size", "gap", *evaluated]
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    for row, job in zip(rows, differences(rows), strict=True):
        table.add_row(
            job,
            row.backend,
            row.status,
            _decimals(row.p50_ms, 2),
            _decimals(row.p90_ms, 2),
            format_bytes(row.size),
            format_error(row.gap),
            *(_decimals(row.scores[name], 3) for name in evaluated),
            row.error.splitlines()[0] if row.error else "",
        )
    return table


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
