"""The result of accuracy debugging as sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.error_metrics import ErrorMetrics, worst
from deploy.analysis.accuracy.ranking import Bounds, RankedStep, Ranking
from deploy.analysis.accuracy.records import Bisection, Blame, ChainEnd, Operator, Probe, StepBlame


def verdict(blame: Blame, found: Ranking, bounds: Bounds) -> list[str]:
    """Sentences, the culprit in the first.

    Args:
        blame: what was measured.
        found: how it was judged.
        bounds: by which bounds.
    """
    first = found.steps[0]
    telling = not found.good or first.adds or first.loses
    effect = _effect(blame, _in_chain(blame, first.step)) if telling else ""
    lines = [_first(first, found, bounds), effect]
    bad = [one for one in found.steps[1:] if not one.good]
    lines += [f"Also {_beyond(one, bounds)}." for one in bad]
    return [line for line in lines if line]


def _first(first: RankedStep, found: Ranking, bounds: Bounds) -> str:
    if not first.good:
        return f"The culprit is {_beyond(first, bounds)}."
    who = _step_title(first.step)
    good = "Nothing is beyond its bound" if found.good else "The chain is within its bound"
    if found.chain_good and not (first.adds or first.loses):
        return f"{good}; {who} has the largest error of its own: {_describe_error(first.own)}."
    if found.chain_good:
        return f"{good}; {who} adds most to the chain's error."
    return (
        f"The chain is beyond its bound, and {who} adds most to that, though its own error, "
        f"{_describe_error(first.own)}, is within its bound."
    )


def _beyond(one: RankedStep, bounds: Bounds) -> str:
    said = f" ({one.step.failure})" if one.step.failure else ""
    return (
        f"{_step_title(one.step)}: fed with the reference's inputs it is off by "
        f"{_describe_error(one.own)}, "
        f"beyond {bounds.of(one.step)}{said}"
    )


def _effect(blame: Blame, step: StepBlame) -> str:
    if step.swaps is None:
        return ""
    after, chain = step.swaps.outputs, blame.chain
    said = []
    if chain.gap and after.gap:
        said.append(
            f"the chain's error goes from {chain.gap.max_rel:.1e} to {after.gap.max_rel:.1e}"
        )
    if after.matched is not None and (after.matched, after.total) != (chain.matched, chain.total):
        said.append(
            f"{after.matched} of {after.total} detections match instead of "
            f"{chain.matched} of {chain.total}"
        )
    whose = f"the outputs of {_step_title(step)}"
    return f"With {whose} from the reference {', and '.join(said)}." if said else ""


def _in_chain(blame: Blame, step: StepBlame) -> StepBlame:
    """The step, or the host step that calls it."""
    callers = (one for one in blame.steps if step.name in one.calls)
    return next(callers, step) if step.swaps is None else step


def _step_title(step: StepBlame) -> str:
    return f"{'segment' if step.backend else 'host step'} '{step.name}'"


def _describe_error(gap: ErrorMetrics | None) -> str:
    if gap is None:
        return "nothing that was measured"
    return f"max_rel {gap.max_rel:.1e} (cosine {gap.cosine:.6f}) at '{gap.tensor}'"


HEAD = ("step", "runs on", "own", "inherited", "end: inputs", "end: outputs", "adds", "")


def result_lines(blame: Blame, found: Ranking, bounds: Bounds) -> Iterator[str]:
    """The culprit, then every step, then the operator if one was looked for."""
    yield from verdict(blame, found, bounds)
    yield ""
    yield from _table([HEAD, *step_rows(blame, found)])
    yield ""
    yield "max_rel of the worst tensor. own: fed with the reference's inputs; inherited: with the"
    yield "chain's. end: of the chain, with the reference's inputs or outputs of that step."
    if blame.bisection is not None:
        yield ""
        yield from bisection_lines(blame.bisection)


def step_rows(blame: Blame, found: Ranking) -> list[tuple[str, ...]]:
    """The cells of every step, the most guilty first, and of the chain's end."""
    return [*map(_row, found.steps), _end_row(blame, found)]


def bisection_lines(found: Bisection) -> Iterator[str]:
    """The first operator beyond the bound, and how that is known."""
    if found.operator is None:
        yield f"In segment '{found.segment}': {found.finding}"
        return
    yield f"The first operator beyond max_rel {found.max_rel:g} in segment '{found.segment}':"
    yield from _operator_lines(found.operator)
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


def _operator_lines(operator: Operator) -> Iterator[str]:
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


def _row(one: RankedStep) -> tuple[str, ...]:
    step = one.step
    own = f"{_max(step.own)} {'ok' if one.good else 'BAD'}"
    cells = (step.name, step.backend or "host", own, _max(step.inherited))
    if step.swaps is None:
        return (*cells, "-", "-", "-", "called by a host step")
    before, after = step.swaps.inputs, step.swaps.outputs
    return (
        *cells,
        _format_gap(before.gap),
        _format_gap(after.gap),
        f"{one.adds:.1e}",
        _detections(after),
    )


def _end_row(blame: Blame, found: Ranking) -> tuple[str, ...]:
    mark = "ok" if found.chain_good else "BAD"
    end = f"{_format_gap(blame.chain.gap)} {mark}"
    return ("(chain)", "", "", end, "", "", "", _detections(blame.chain))


def _detections(final: ChainEnd) -> str:
    return "" if final.total is None else f"{final.matched} of {final.total} detections"


def _max(gaps: Sequence[ErrorMetrics]) -> str:
    return _format_gap(worst(gaps)) if gaps else "-"


def _format_gap(gap: ErrorMetrics | None) -> str:
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
