"""What was measured -> who is to blame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backends.acceptance import TOLERANCES, Tolerance
from backends.error_metrics import ErrorMetrics, worst
from deploy.analysis.accuracy.records import Blame, BlameError, ChainEnd, StepBlame


@dataclass(frozen=True)
class Bounds:
    """The bounds that were asked for, in the place of those of the steps' precisions.

    Attributes:
        max_rel: of every gap.
        cosine: likewise.
        min_matched: the share of detections that both models must have.
    """

    max_rel: float | None = None
    cosine: float | None = None
    min_matched: float = 0.98

    def admit_end(self, blame: Blame) -> bool:
        """Whether the end of the chain is within its bounds."""
        gap, bound = blame.chain.gap, self.of_chain(blame.steps)
        return (gap is None or bound.admits(gap)) and matched_share(blame.chain) >= self.min_matched

    def of(self, step: StepBlame) -> Tolerance:
        """What a step may differ by."""
        return self._asked(TOLERANCES[step.precision])

    def of_chain(self, steps: Sequence[StepBlame]) -> Tolerance:
        """What the end of the chain may differ by: the bound of its loosest step."""
        loosest = max((TOLERANCES[s.precision] for s in steps), key=lambda one: one.max_rel)
        return self._asked(loosest)

    def _asked(self, bound: Tolerance) -> Tolerance:
        max_rel = bound.max_rel if self.max_rel is None else self.max_rel
        return Tolerance(max_rel, bound.cosine if self.cosine is None else self.cosine)


@dataclass(frozen=True)
class RankedStep:
    """A step and what is to say of it.

    Attributes:
        step: what was measured.
        own: its largest gap; none where the reference has no value of what it gives.
        good: whether all of them are within its bound.
        adds: by how much it alone makes the chain's gap larger.
        loses: the share of detections that it alone loses.
    """

    step: StepBlame
    own: ErrorMetrics | None
    good: bool
    adds: float
    loses: float


@dataclass(frozen=True)
class Ranking:
    """Who is to blame.

    Attributes:
        steps: the most guilty first.
        chain_good: whether the end of the chain is within its bound.
    """

    steps: tuple[RankedStep, ...]
    chain_good: bool

    @property
    def good(self) -> bool:
        """Whether nothing is beyond its bound."""
        return self.chain_good and all(one.good for one in self.steps)


def rank_steps(blame: Blame, bounds: Bounds) -> Ranking:
    """Rank the steps by what they do to the end of the chain.

    Args:
        blame: what was measured.
        bounds: what counts as agreement.
    """
    ranked = sorted((_judged(step, bounds) for step in blame.steps), key=_guilt, reverse=True)
    first = next((one for one in _called(ranked) if not one.good), ranked[0])
    steps = (first, *(one for one in ranked if one is not first))
    return Ranking(steps, bounds.admit_end(blame))


def culprit(judgement: Ranking) -> RankedStep:
    """The segment to look into: the most guilty, or the worst of those that it calls.

    Raises:
        BlameError: it is a host step, which has no graph.
    """
    first = next(iter(_called(judgement.steps)), judgement.steps[0])
    if not first.step.backend:
        raise BlameError(
            f"host step '{first.step.name}' is to blame, and is no graph to look into",
            do="Name a segment with --segment.",
        )
    return first


def _called(ranked: Sequence[RankedStep]) -> list[RankedStep]:
    """The segments that the most guilty step runs itself, the worst first."""
    return [one for one in ranked if one.step.name in ranked[0].step.calls]


def _judged(step: StepBlame, bounds: Bounds) -> RankedStep:
    good = all(bounds.of(step).admits(gap) for gap in step.own) and not step.failure
    own = worst(step.own) if step.own else None
    if step.swaps is None:
        return RankedStep(step, own, good, 0.0, 0.0)
    before, after = step.swaps.inputs, step.swaps.outputs
    return RankedStep(step, own, good, _less(_size(before), _size(after)), _share(after, before))


def _guilt(one: RankedStep) -> tuple[float, float, float]:
    return (one.loses, one.adds, one.own.max_rel if one.own else 0.0)


def _size(final: ChainEnd) -> float:
    return final.gap.max_rel if final.gap else 0.0


def _less(one: float, other: float) -> float:
    return 0.0 if math.isinf(one) and math.isinf(other) else one - other


def _share(one: ChainEnd, other: ChainEnd) -> float:
    """By how much a larger share of the detections match in ``one``."""
    return matched_share(one) - matched_share(other)


def matched_share(final: ChainEnd) -> float:
    """The share of detections that both models have; 1 where there are none."""
    return final.matched / final.total if final.total and final.matched is not None else 1.0
