"""Who is to blame, printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.gap import Gap, worst
from deploy.blaming.judging import Bounds, Judged, Judgement
from deploy.blaming.records import Bisection, Blame, Final, Operator, Probe
from deploy.blaming.words import verdict

HEAD = ("step", "runs on", "own", "inherited", "end: inputs", "end: outputs", "adds", "")


def lines(blame: Blame, found: Judgement, bounds: Bounds) -> Iterator[str]:
    """The culprit, then every step, then the operator if one was looked for."""
    yield from verdict(blame, found, bounds)
    yield ""
    yield from _table([HEAD, *rows(blame, found)])
    yield ""
    yield "max_rel of the worst tensor. own: fed with the reference's inputs; inherited: with the"
    yield "chain's. end: of the chain, with the reference's inputs or outputs of that step."
    if blame.bisection is not None:
        yield ""
        yield from bisection_lines(blame.bisection)


def rows(blame: Blame, found: Judgement) -> list[tuple[str, ...]]:
    """The cells of every step, the most guilty first, and of the chain's end."""
    return [*map(_row, found.steps), _end(blame, found)]


def bisection_lines(found: Bisection) -> Iterator[str]:
    """The first operator beyond the bound, and how that is known."""
    if found.operator is None:
        yield f"In segment '{found.segment}': {found.finding}"
        return
    yield f"The first operator beyond max_rel {found.max_rel:g} in segment '{found.segment}':"
    yield from _operator(found.operator)
    if found.others:
        named = ", ".join(f"{one.kind} '{one.name}'" for one in found.others)
        yield f"    or        what it needs and could not be had: {named}"
    if found.alone is not None:
        yield f"    alone     {_alone(found.alone, found)}"
    if found.kept:
        yield f"    file      {found.kept}"
        yield f"    repeat    {found.repeat}"


def probe_line(number: int, probe: Probe, left: int) -> str:
    """Such as ``3  up to 'relu_7': max_rel 1.2e-06, 24 operators left``."""
    gap = f"max_rel {probe.gap.max_rel:.1e}" if probe.gap else f"not to be had: {_short(probe)}"
    return f"{number:>3}  up to {_quoted(probe.tensors)}: {gap}, {left} operators left"


def _operator(operator: Operator) -> Iterator[str]:
    yield f"    operator  {operator.kind} '{operator.name}' -> {_quoted(operator.tensors)}"
    if operator.module:
        yield f"    module    {operator.module} ({operator.module_type})"
    if operator.source:
        yield f"    source    {_near(operator.source)}"


def _near(source: str) -> str:
    """A file as it is called from here, if it is below."""
    path = Path(source)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _alone(alone: Probe, found: Bisection) -> str:
    if alone.gap is None:
        return f"not to be had: {_short(alone)}"
    said = f"max_rel {alone.gap.max_rel:.1e}, fed with the reference's inputs"
    if alone.note:
        said += f" ({_short(alone)})"
    if alone.gap.max_rel <= found.max_rel and alone.gap.cosine >= found.cosine:
        return f"{said}: by itself it is right; it enlarges what comes in, or shows it first"
    return said


def _row(one: Judged) -> tuple[str, ...]:
    step = one.step
    own = f"{_max(step.own)} {'ok' if one.good else 'BAD'}"
    cells = (step.name, step.backend or "host", own, _max(step.inherited))
    if step.swaps is None:
        return (*cells, "-", "-", "-", "called by a host step")
    before, after = step.swaps.inputs, step.swaps.outputs
    return (*cells, _gap(before.gap), _gap(after.gap), f"{one.adds:.1e}", _detections(after))


def _end(blame: Blame, found: Judgement) -> tuple[str, ...]:
    mark = "ok" if found.chain_good else "BAD"
    end = f"{_gap(blame.chain.gap)} {mark}"
    return ("(chain)", "", "", end, "", "", "", _detections(blame.chain))


def _detections(final: Final) -> str:
    return "" if final.total is None else f"{final.matched} of {final.total} detections"


def _max(gaps: Sequence[Gap]) -> str:
    return _gap(worst(gaps)) if gaps else "-"


def _gap(gap: Gap | None) -> str:
    return f"{gap.max_rel:.1e}" if gap is not None else "-"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _quoted(tensors: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in tensors)


def _short(probe: Probe) -> str:
    """The last line of what was said, without the command that repeats it."""
    said = probe.note.partition("\n  To repeat")[0].strip().splitlines()[-1]
    return said.strip().removeprefix("error: ")
