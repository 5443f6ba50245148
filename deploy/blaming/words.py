"""Who is to blame, in words."""

from __future__ import annotations

from backends.gap import Gap
from deploy.blaming.judging import Bounds, Judged, Judgement
from deploy.blaming.records import Blame, StepBlame


def verdict(blame: Blame, found: Judgement, bounds: Bounds) -> list[str]:
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


def _first(first: Judged, found: Judgement, bounds: Bounds) -> str:
    if not first.good:
        return f"The culprit is {_beyond(first, bounds)}."
    who = _name(first.step)
    good = "Nothing is beyond its bound" if found.good else "The chain is within its bound"
    if found.chain_good and not (first.adds or first.loses):
        return f"{good}; {who} has the largest error of its own: {_gap(first.own)}."
    if found.chain_good:
        return f"{good}; {who} adds most to the chain's error."
    return (
        f"The chain is beyond its bound, and {who} adds most to that, though its own error, "
        f"{_gap(first.own)}, is within its bound."
    )


def _beyond(one: Judged, bounds: Bounds) -> str:
    said = f" ({one.step.failure})" if one.step.failure else ""
    return (
        f"{_name(one.step)}: fed with the reference's inputs it is off by {_gap(one.own)}, "
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
    whose = f"the outputs of {_name(step)}"
    return f"With {whose} from the reference {', and '.join(said)}." if said else ""


def _in_chain(blame: Blame, step: StepBlame) -> StepBlame:
    """The step, or the host step that calls it."""
    callers = (one for one in blame.steps if step.name in one.calls)
    return next(callers, step) if step.swaps is None else step


def _name(step: StepBlame) -> str:
    return f"{'segment' if step.backend else 'host step'} '{step.name}'"


def _gap(gap: Gap | None) -> str:
    if gap is None:
        return "nothing that was measured"
    return f"max_rel {gap.max_rel:.1e} (cosine {gap.cosine:.6f}) at '{gap.tensor}'"
