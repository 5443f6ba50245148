"""The acceptance rule: when a result agrees with its reference.

It is the only one. Verification, ``check``, ``build``, ``tune``, accuracy debugging, the report and
the standalone converters apply it:

- **Tensors.** Each output of a step is within the tolerance of the step's precision: a bound on the
  relative error and one on the cosine similarity, see ``backends.error_metrics``. The outputs of a
  chain have the tolerance of its loosest step. Outputs of segments that are quantised already have
  at least the tolerance ``QUANTISED``. Where the reference itself is uncertain of a tensor, its
  noise floor counts ``FLOOR_FACTOR`` times, up to ``MOST_BY_FLOOR``. A recipe's own bounds come
  before all of these. Whole numbers and booleans agree where they are equal; a NaN or another
  shape never agrees, an infinity with the same one alone.
- **Detections.** Those from the score ``CONFIDENT`` up are compared. Two are the same if their
  labels are equal and their boxes overlap with an IoU from ``MATCH_IOU`` up, and so do their masks
  where both models give masks. A share of ``MIN_MATCHED`` of them must have a partner in the other
  model's detections, counted from both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command line's defaults need no NumPy
    from backends.error_metrics import ErrorMetrics

CONFIDENT = 0.3
"""The score from which detections are compared and drawn.

Below it, whether a detection is there depends on the last bit of its score.
"""


MATCH_IOU = 0.9
"""The IoU, of boxes and of masks, from which two detections are the same."""


MIN_MATCHED = 0.98
"""The share of confident detections that must have a partner, unless a recipe asks for another."""


@dataclass(frozen=True)
class Tolerance:
    """The largest error that still counts as agreement.

    Attributes:
        max_rel: the upper bound of the relative error.
        cosine: the lower bound of the cosine similarity.
    """

    max_rel: float
    cosine: float

    def admits(self, metrics: ErrorMetrics) -> bool:
        """Whether the error is within both bounds; a NaN never is."""
        return metrics.max_rel <= self.max_rel and metrics.cosine >= self.cosine

    def or_looser(self, other: Tolerance) -> Tolerance:
        """The looser of both in each bound."""
        return Tolerance(max(self.max_rel, other.max_rel), min(self.cosine, other.cosine))

    def __str__(self) -> str:
        """Such as ``max_rel <= 0.001 and cosine >= 0.9999``."""
        return f"max_rel <= {self.max_rel:g} and cosine >= {self.cosine:g}"


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_rel=1e-3, cosine=0.9999),
    "fp16": Tolerance(max_rel=5e-2, cosine=0.999),
    "bf16": Tolerance(max_rel=1e-1, cosine=0.995),
}
"""The tolerance of each precision."""


QUANTISED = Tolerance(max_rel=5e-2, cosine=0.999)
"""The tolerance of a graph that holds quantised operators already.

Two right engines may round a value to neighbouring steps of 1/255 of its range, and the next
operators add such steps up.
"""


FLOOR_FACTOR = 2.0
"""How often the noise floor counts: a right engine and the reference may each be off by one.

Of the cosine similarity, what is missing to 1 grows with the square of the error.
"""


MOST_BY_FLOOR = Tolerance(max_rel=1e-2, cosine=0.999)
"""The loosest tolerance that a noise floor gives: ten times that of fp32, in both bounds.

Whatever the floor is, an engine that is off by more is wrong, or the sample is no test.
"""


@dataclass(frozen=True)
class Bounds:
    """The bounds that a recipe sets for one tensor; None leaves one at its default."""

    max_rel: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class AcceptanceRule:
    """The rule, with what a recipe or a command line puts in the place of its defaults.

    Attributes:
        max_rel: in the place of ``Tolerance.max_rel`` of every precision.
        cosine: in the place of ``Tolerance.cosine`` of every precision.
        min_matched: the share of detections that must have a partner, from 0 to 1.
        tensors: bounds of single tensors, in the place of those above.
        floors: the noise floor of tensors: the error of the reference against itself, computed in
            another way.
        quantised: the tensors of segments that are quantised already.

    Examples:
        >>> AcceptanceRule().chain_tolerance(["fp32", "fp16"])
        Tolerance(max_rel=0.05, cosine=0.999)
        >>> floor = Tolerance(max_rel=0.002, cosine=0.99999)
        >>> AcceptanceRule(floors={"scores": floor}).tolerance("fp32", "scores")
        Tolerance(max_rel=0.004, cosine=0.9999)
        >>> AcceptanceRule().results_agree(97, 100)
        False
    """

    max_rel: float | None = None
    cosine: float | None = None
    min_matched: float = MIN_MATCHED
    tensors: Mapping[str, Bounds] = field(default_factory=dict)
    floors: Mapping[str, Tolerance] = field(default_factory=dict)
    quantised: frozenset[str] = frozenset()

    def tolerance(self, precision: str, tensor: str = "") -> Tolerance:
        """The tolerance of a step that computes in this precision, such as ``fp16``.

        Args:
            precision: of the step.
            tensor: one of its outputs; by default what holds for all.
        """
        default, own = TOLERANCES[precision], self.tensors.get(tensor, Bounds())
        if tensor in self.quantised:
            default = default.or_looser(QUANTISED)
        if tensor in self.floors:
            default = default.or_looser(by_floor(self.floors[tensor]))
        return Tolerance(
            _first(own.max_rel, self.max_rel, default.max_rel),
            _first(own.cosine, self.cosine, default.cosine),
        )

    def chain_tolerance(self, precisions: Iterable[str], tensor: str = "") -> Tolerance:
        """The tolerance of a chain of steps in these precisions: that of the loosest step."""
        return self.tolerance(loosest(precisions), tensor)

    def special(self, precision: str, tensors: Iterable[str]) -> dict[str, Tolerance]:
        """The tolerances of those tensors that differ from the default of the precision."""
        tolerances = {tensor: self.tolerance(precision, tensor) for tensor in tensors}
        default = TOLERANCES[precision]
        return {name: bound for name, bound in tolerances.items() if bound != default}

    def results_agree(self, matched: int, total: int) -> bool:
        """Whether enough of what two models say is the same; see ``Result.agreement``."""
        return matched_share(matched, total) >= self.min_matched


def by_floor(floor: Tolerance) -> Tolerance:
    """The tolerance that a noise floor gives."""
    missing = FLOOR_FACTOR**2 * (1 - floor.cosine)
    return Tolerance(
        min(FLOOR_FACTOR * floor.max_rel, MOST_BY_FLOOR.max_rel),
        max(1 - missing, MOST_BY_FLOOR.cosine),
    )


DEFAULT_RULE = AcceptanceRule()
"""The rule where nothing is set."""


def _first(*bounds: float | None) -> float:
    return next(bound for bound in bounds if bound is not None)


def loosest(precisions: Iterable[str]) -> str:
    """The precision with the loosest tolerance."""
    return max(precisions, key=lambda precision: TOLERANCES[precision].max_rel)


def matched_share(matched: int, total: int) -> float:
    """From 0 to 1; 1 where there is nothing to match."""
    return matched / total if total else 1.0
