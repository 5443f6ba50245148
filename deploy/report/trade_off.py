"""The plot of a sweep: how exact, how fast and how large the bundle of each job is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from deploy.report.progress import format_bytes, format_error
from deploy.report.svg.scales import Scale, latency_scale, linear_scale, log_scale
from deploy.report.svg.scatter import PlotPoint, scatter_svg
from deploy.report.sweep import Job, score_titles

_GAP = "max_rel"
_LEAST_GAP = 1e-9  # equal results have no place on a logarithmic scale
_LEAST_SCORES = 0.02  # the span of a scale of scores, at least


@dataclass(frozen=True)
class TradeOffRow:
    """A row of the table beside the plot; ``number`` is the job's, and names its point."""

    number: int
    job: Job
    accuracy: str
    p50: str
    rounds: str
    size: str


@dataclass(frozen=True)
class TradeOff:
    """The plot.

    Attributes:
        accuracy: what is plotted upwards, such as ``boxes mAP@.5:.95``.
        higher_is_better: whether the best is at the top.
        svg: the drawing.
        rows: the same in numbers.
    """

    accuracy: str
    higher_is_better: bool
    svg: str
    rows: tuple[TradeOffRow, ...]


def trade_off(jobs: Sequence[Job]) -> TradeOff | None:
    """The plot of all jobs whose latency and accuracy were measured.

    The accuracy is the first score that was evaluated, else the chain's largest error.

    Args:
        jobs: all jobs of the sweep.

    Returns:
        The plot; None where nothing can be plotted.
    """
    scores = score_titles([job.row for job in jobs], most=1)
    title = scores[0] if scores else _GAP

    def accuracy(job: Job) -> float | None:
        if not scores:
            return job.row.gap
        score = job.row.score(title)
        return score.chain if score else None

    plotted = {
        number: job
        for number, job in enumerate(jobs)
        if job.row.p50_ms is not None and job.row.size and accuracy(job) is not None
    }
    if not plotted:
        return None
    form: Callable[[float], str] = "{:.3f}".format if scores else format_error
    values = {number: accuracy(job) or 0.0 for number, job in plotted.items()}
    rows = tuple(_row(number, job, form(values[number])) for number, job in plotted.items())
    points = [_point(row, values[row.number], title, _largest(plotted)) for row in rows]
    scale = _score_scale([*values.values()]) if scores else _gap_scale([*values.values()])
    if not scores:
        points = [_above_zero(point) for point in points]
    drawn = scatter_svg(
        f"{title}, latency and size of {len(rows)} jobs",
        points,
        ("p50, ms", latency_scale([end for point in points for end in (point.x, point.x_high)])),
        (title if scores else f"{title}, logarithmic", scale),
    )
    return TradeOff(title, bool(scores), drawn, rows)


def _largest(plotted: Mapping[int, Job]) -> int:
    return max(job.row.size or 0 for job in plotted.values())


def _row(number: int, job: Job, accuracy: str) -> TradeOffRow:
    p50 = f"{job.row.p50_ms:.2f}"
    return TradeOffRow(number, job, accuracy, p50, job.row.round_range, format_bytes(job.row.size))


def _point(row: TradeOffRow, accuracy: float, title: str, largest: int) -> PlotPoint:
    job = row.job.row
    p50 = job.p50_ms or 0.0
    flags = "".join(f", {flag}" for flag in job.latency_flags)
    return PlotPoint(
        label=str(row.number),
        tooltip=f"{row.number}: {row.job.title}: {title} {row.accuracy}, p50 {row.p50} ms{flags}, "
        f"{row.size}",
        x=p50,
        y=accuracy,
        x_low=job.p50_low_ms or p50,
        x_high=job.p50_high_ms or p50,
        area=(job.size or 0) / largest,
        is_noise=bool(job.noise),
        is_first=job.standing in ("fastest", "tied"),
    )


def _score_scale(values: Sequence[float]) -> Scale:
    """Around the scores, and never so near that hardly any difference looks like a large one."""
    low, high = min(values), max(values)
    missing = max(0.0, _LEAST_SCORES - (high - low)) / 2
    return linear_scale(max(0.0, low - missing), min(1.0, high + missing))


def _gap_scale(values: Sequence[float]) -> Scale:
    shown = [max(value, _LEAST_GAP) for value in values]
    return log_scale(min(shown), max(shown))


def _above_zero(point: PlotPoint) -> PlotPoint:
    return replace(point, y=max(point.y, _LEAST_GAP))
