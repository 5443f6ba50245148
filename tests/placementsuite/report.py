"""Reports of cases, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.placementsuite.suite import Report


def table(reports: Sequence[Report]) -> str:
    """The closing table."""
    rows = (f"| {what} | {value} |" for what, value in _rows(reports))
    return "\n".join(["| what | found |", "|---|---|", *rows])


def _rows(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
    used = [report for report in reports if not report.left_out]
    yield "models looked at", f"{len(reports):,}"
    for why, count in Counter(r.left_out for r in reports if r.left_out).most_common():
        yield f"left out: {why}", f"{count:,}"
    for kind, count in Counter(report.kind for report in used).items():
        yield f"used, {kind}", f"{count:,}"
    plans, refused = sum(r.plans for r in used), sum(r.refused for r in used)
    made = plans - refused
    yield "plans", f"{plans:,}"
    yield "refused by name: no engine takes some node", f"{refused:,}"
    yield "plans of more than one region", f"{sum(r.divided for r in used):,}"
    by_name = Counter(name for r in used for name in r.divided_by if ":" not in name)
    for name, count in by_name.items():
        yield f"models divided where {name} is preferred", f"{count:,}"
    yield "regions", f"{sum(r.regions for r in used):,}"
    yield "borders", f"{sum(r.borders for r in used):,}"
    yield "bit-equal, every invariant held", f"{sum(r.equal for r in used):,} of {made:,}"
    yield "fp16, within 1e-3", f"{sum(r.within for r in used):,} of {made:,}"
    unloadable = [f"{r.name} {form}" for r in used for form in r.unloadable]
    yield "forms that ONNX Runtime does not load", ", ".join(unloadable) or "none"
    yield "failed", f"{sum(len(r.failed) for r in used):,}"
