"""What was measured of a chain -> its steps, ranked by their effect on the chain's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from backends.acceptance import AcceptanceRule, loosest, matched_share
from backends.error_metrics import ErrorMetrics, worst
from deploy.analysis.accuracy.records import Blame, BlameError, ChainEnd, StepBlame


@dataclass(frozen=True)
class RankedStep:
    """A step and its part in the chain's error.

    Attributes:
        step: what was measured.
        own: its largest error; None where the reference has no value of its outputs.
        good: whether all its errors are within its tolerance.
        adds: by how much it alone enlarges the chain's error.
        loses: the share of detections that it alone loses.
    """

    step: StepBlame
    own: ErrorMetrics | None
    good: bool
    adds: float
    loses: float


@dataclass(frozen=True)
class Ranking:
    """The steps by their effect.

    Attributes:
        blame: what was measured.
        rule: what counts as agreement.
        steps: the step with the largest effect first.
        chain_good: whether the chain's outputs pass the acceptance rule.
    """

    blame: Blame
    rule: AcceptanceRule
    steps: tuple[RankedStep, ...]
    chain_good: bool

    @property
    def good(self) -> bool:
        """Whether every step and the chain pass the acceptance rule."""
        return self.chain_good and all(ranked.good for ranked in self.steps)


def rank_steps(blame: Blame, rule: AcceptanceRule) -> Ranking:
    """Rank the steps by their effect on the chain's outputs.

    Where the step with the largest effect is a host step, and a segment that it calls is beyond
    its tolerance, the segment comes first.

    Args:
        blame: what was measured.
        rule: what counts as agreement.
    """
    measured = (_ranked(step, rule) for step in blame.steps)
    ranked = sorted(measured, key=_effect_size, reverse=True)
    first = next((called for called in _called_by_first(ranked) if not called.good), ranked[0])
    steps = (first, *(step for step in ranked if step is not first))
    return Ranking(blame, rule, steps, _chain_agrees(blame, rule))


def segment_to_bisect(ranking: Ranking) -> RankedStep:
    """The segment ranked first, or the first of those that the host step ranked first calls.

    Raises:
        BlameError: it is a host step that calls none, and has no graph.
    """
    first = next(iter(_called_by_first(ranking.steps)), ranking.steps[0])
    if not first.step.backend:
        raise BlameError(
            f"host step '{first.step.name}' is ranked first, and has no graph to bisect",
            do="Name a segment with --segment.",
        )
    return first


def _chain_agrees(blame: Blame, rule: AcceptanceRule) -> bool:
    metrics = blame.chain.gap
    precision = loosest(step.precision for step in blame.steps)
    within = metrics is None or rule.tolerance(precision, metrics.tensor).admits(metrics)
    return within and rule.results_agree(*_detections(blame.chain))


def _called_by_first(ranked: Sequence[RankedStep]) -> list[RankedStep]:
    """The segments that the step ranked first calls, in order of the ranking."""
    return [called for called in ranked if called.step.name in ranked[0].step.calls]


def _ranked(step: StepBlame, rule: AcceptanceRule) -> RankedStep:
    good = not beyond_tolerance(step, rule) and not step.failure
    own = worst(step.own) if step.own else None
    if step.swaps is None:
        return RankedStep(step, own, good, 0.0, 0.0)
    with_inputs, with_outputs = step.swaps.inputs, step.swaps.outputs
    adds = _difference(_chain_error(with_inputs), _chain_error(with_outputs))
    loses = matched_share(*_detections(with_outputs)) - matched_share(*_detections(with_inputs))
    return RankedStep(step, own, good, adds, loses)


def beyond_tolerance(step: StepBlame, rule: AcceptanceRule) -> list[ErrorMetrics]:
    """The errors of a step's outputs that are beyond their tolerances."""
    return [
        metrics
        for metrics in step.own
        if not rule.tolerance(step.precision, metrics.tensor).admits(metrics)
    ]


def _effect_size(ranked: RankedStep) -> tuple[float, float, float]:
    """Detections count before the chain's error, and that before the step's own error."""
    return (ranked.loses, ranked.adds, ranked.own.max_rel if ranked.own else 0.0)


def _chain_error(end: ChainEnd) -> float:
    return end.gap.max_rel if end.gap else 0.0


def _difference(minuend: float, subtrahend: float) -> float:
    """Of two infinite errors it is 0, not NaN."""
    both_infinite = math.isinf(minuend) and math.isinf(subtrahend)
    return 0.0 if both_infinite else minuend - subtrahend


def _detections(end: ChainEnd) -> tuple[int, int]:
    """How many detections match, and of how many; none of none where there are no pictures."""
    return (end.matched or 0, end.total or 0)
