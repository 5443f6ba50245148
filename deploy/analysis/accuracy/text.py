"""The result of accuracy debugging as sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backends.acceptance import AcceptanceRule, Tolerance
from backends.codec import to_json
from backends.error_metrics import ErrorMetrics, worst
from deploy.analysis.accuracy.ranking import RankedStep, Ranking, beyond_tolerance
from deploy.analysis.accuracy.records import Bisection, Blame, ChainEnd, Operator, Probe, StepBlame


def summary_sentences(ranking: Ranking) -> list[str]:
    """The step with the largest effect, its effect, then every other step beyond its tolerance."""
    first = ranking.steps[0]
    has_effect = not ranking.good or first.adds or first.loses
    effect = _effect(ranking.blame, first.step) if has_effect else ""
    sentences = [_first_sentence(first, ranking), effect]
    violations = [ranked for ranked in ranking.steps[1:] if not ranked.good]
    sentences += [f"Also {_violation(ranked, ranking.rule)}." for ranked in violations]
    return [sentence for sentence in sentences if sentence]


def _first_sentence(first: RankedStep, ranking: Ranking) -> str:
    if not first.good:
        return f"The step with the largest effect is {_violation(first, ranking.rule)}."
    title, error = _step_title(first.step), _describe_error(first.own)
    if not ranking.chain_good:
        return (
            f"The chain does not agree with the reference, and {title} adds most to its error, "
            f"though its own error, {error}, is within its tolerance."
        )
    subject = "Every step" if ranking.good else "The chain"
    if not (first.adds or first.loses):
        return f"{subject} is within its tolerance; {title} has the largest own error: {error}."
    return f"{subject} is within its tolerance; {title} adds most to the chain's error."


def _violation(ranked: RankedStep, rule: AcceptanceRule) -> str:
    step = ranked.step
    failure = f" ({step.failure})" if step.failure else ""
    beyond = beyond_tolerance(step, rule)
    error = worst(beyond) if beyond else ranked.own
    bound = rule.tolerance(step.precision, error.tensor if error else "")
    return (
        f"{_step_title(step)}: with the reference's inputs its error is "
        f"{_describe_error(error)}, beyond {bound}{failure}"
    )


def _effect(blame: Blame, step: StepBlame) -> str:
    step = _in_chain(blame, step)
    if step.swaps is None:
        return ""
    swapped, chain = step.swaps.outputs, blame.chain
    effects = []
    if chain.gap and swapped.gap:
        effects.append(
            f"the chain's error goes from {chain.gap.max_rel:.1e} to {swapped.gap.max_rel:.1e}"
        )
    counts, chain_counts = (swapped.matched, swapped.total), (chain.matched, chain.total)
    if swapped.matched is not None and counts != chain_counts:
        effects.append(
            f"{swapped.matched} of {swapped.total} {swapped.noun} match instead of "
            f"{chain.matched} of {chain.total}"
        )
    outputs = f"the outputs of {_step_title(step)}"
    return f"With {outputs} from the reference {', and '.join(effects)}." if effects else ""


def _in_chain(blame: Blame, step: StepBlame) -> StepBlame:
    """The step, or the host step that calls it."""
    callers = (caller for caller in blame.steps if step.name in caller.calls)
    return next(callers, step) if step.swaps is None else step


def _step_title(step: StepBlame) -> str:
    return f"{'segment' if step.backend else 'host step'} '{step.name}'"


def _describe_error(metrics: ErrorMetrics | None) -> str:
    if metrics is None:
        return "nothing that was measured"
    return f"max_rel {metrics.max_rel:.1e} (cosine {metrics.cosine:.6f}) at '{metrics.tensor}'"


HEAD = ("step", "runs on", "own", "inherited", "end: inputs", "end: outputs", "adds", "")


def result_lines(ranking: Ranking) -> Iterator[str]:
    """What ``blame`` prints: the summary, every step, and the operator if there was a bisection."""
    yield from summary_sentences(ranking)
    yield ""
    yield from _table([HEAD, *step_rows(ranking)])
    yield ""
    yield "max_rel of the worst tensor. own: with the reference's inputs; inherited: with the"
    yield "chain's. end: of the chain, with the reference's inputs or outputs of that step."
    if ranking.blame.bisection is not None:
        yield ""
        yield from bisection_lines(ranking.blame.bisection)


def result_json(ranking: Ranking) -> dict[str, Any]:
    """What ``blame --json`` writes: the ranking, and everything that was measured."""
    return {
        "ranked": [ranked.step.name for ranked in ranking.steps],
        "bad": [ranked.step.name for ranked in ranking.steps if not ranked.good],
        "chain_good": ranking.chain_good,
        "verdict": summary_sentences(ranking),
        **to_json(ranking.blame),
    }


def step_rows(ranking: Ranking) -> list[tuple[str, ...]]:
    """The cells of every step, in order of the ranking, and of the chain's outputs."""
    return [*map(_row, ranking.steps), _chain_row(ranking)]


def bisection_lines(bisection: Bisection) -> Iterator[str]:
    """The first operator beyond the tolerance, and what was measured of it alone."""
    if bisection.operator is None:
        yield f"In segment '{bisection.segment}': {bisection.finding}"
        return
    beyond = f"beyond max_rel {bisection.max_rel:g}"
    yield f"The first operator {beyond} in segment '{bisection.segment}':"
    yield from _operator_lines(bisection.operator)
    if bisection.others:
        listed = ", ".join(f"{operator.kind} '{operator.name}'" for operator in bisection.others)
        yield f"    or        one that it needs and that could not be probed: {listed}"
    if bisection.alone is not None:
        tolerance = Tolerance(bisection.max_rel, bisection.cosine)
        yield f"    alone     {_describe_alone(bisection.alone, tolerance)}"
    if bisection.kept:
        yield f"    file      {bisection.kept}"
        yield f"    repeat    {bisection.repeat}"


def probe_line(number: int, probe: Probe, candidates: int) -> str:
    """Such as ``3  up to 'relu_7': max_rel 1.2e-06, 24 operators left``."""
    error = f"max_rel {probe.gap.max_rel:.1e}" if probe.gap else f"not probed: {_reason(probe)}"
    return f"{number:>3}  up to {_quoted(probe.tensors)}: {error}, {candidates} operators left"


def _operator_lines(operator: Operator) -> Iterator[str]:
    yield f"    operator  {operator.kind} '{operator.name}' -> {_quoted(operator.tensors)}"
    if operator.module:
        yield f"    module    {operator.module} ({operator.module_type})"
    if operator.source:
        yield f"    source    {_relative(operator.source)}"


def _relative(source: str) -> str:
    """The path relative to the working directory, if it is inside."""
    path = Path(source)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _describe_alone(alone: Probe, tolerance: Tolerance) -> str:
    if alone.gap is None:
        return f"not probed: {_reason(alone)}"
    error = f"max_rel {alone.gap.max_rel:.1e}, with the reference's inputs"
    if alone.note:
        error += f" ({_reason(alone)})"
    if tolerance.admits(alone.gap):
        return (
            f"{error}: on its own it is within the tolerance; it amplifies the error of its "
            "inputs, or that error grows beyond the tolerance here"
        )
    return error


def _row(ranked: RankedStep) -> tuple[str, ...]:
    step = ranked.step
    own = f"{_format_worst(step.own)} {'ok' if ranked.good else 'BAD'}"
    cells = (step.name, step.backend or "host", own, _format_worst(step.inherited))
    if step.swaps is None:
        return (*cells, "-", "-", "-", "called by a host step")
    return (
        *cells,
        _format_error(step.swaps.inputs.gap),
        _format_error(step.swaps.outputs.gap),
        f"{ranked.adds:.1e}",
        _format_detections(step.swaps.outputs),
    )


def _chain_row(ranking: Ranking) -> tuple[str, ...]:
    chain = ranking.blame.chain
    error = f"{_format_error(chain.gap)} {'ok' if ranking.chain_good else 'BAD'}"
    return ("(chain)", "", "", error, "", "", "", _format_detections(chain))


def _format_detections(end: ChainEnd) -> str:
    return "" if end.total is None else f"{end.matched} of {end.total} {end.noun}"


def _format_worst(errors: Sequence[ErrorMetrics]) -> str:
    return _format_error(worst(errors)) if errors else "-"


def _format_error(metrics: ErrorMetrics | None) -> str:
    return f"{metrics.max_rel:.1e}" if metrics is not None else "-"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _quoted(tensors: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in tensors)


def _reason(probe: Probe) -> str:
    """The last line of the error message, without the command that repeats it."""
    last_line = probe.note.partition("\n  To repeat")[0].strip().splitlines()[-1]
    return last_line.strip().removeprefix("error: ").rstrip(".")
