"""What a sweep's page shows."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.benchmark import Part
from deploy.reporting.contents import Report, Sighting
from deploy.rows import Row


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
    row: Row
    page: str = ""
    report: Report | None = None

    @property
    def title(self) -> str:
        """Where it ran, and what sets it apart."""
        return ": ".join(filter(None, (self.row.backend, self.label)))

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Its pictures."""
        return self.report.sightings if self.report else ()

    @property
    def total(self) -> Part | None:
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
