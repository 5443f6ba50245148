"""The acceptance rule: when a result agrees with its reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.error_metrics import ErrorMetrics


@dataclass(frozen=True)
class Tolerance:
    """The largest gap that still counts as agreement."""

    max_rel: float
    cosine: float

    def admits(self, gap: ErrorMetrics) -> bool:
        """Whether the gap is within bounds; a NaN never is."""
        return gap.max_rel <= self.max_rel and gap.cosine >= self.cosine

    def __str__(self) -> str:
        """The two bounds in words."""
        return f"max_rel <= {self.max_rel:g} and cosine >= {self.cosine:g}"


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(max_rel=1e-3, cosine=0.9999),
    "fp16": Tolerance(max_rel=5e-2, cosine=0.999),
    "bf16": Tolerance(max_rel=1e-1, cosine=0.995),
}
