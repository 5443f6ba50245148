"""One job of a sweep as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One job of a sweep; latency in milliseconds, size in bytes."""

    job: str
    model: str = ""
    backend: str = ""
    status: str = "failed"
    p50_ms: float | None = None
    p90_ms: float | None = None
    size: int | None = None
    gap: float | None = None
    map_50: float | None = None
    map_50_95: float | None = None
    torch_map_50_95: float | None = None
    mask_map_50: float | None = None
    mask_map_50_95: float | None = None
    torch_mask_map_50_95: float | None = None
    bundle: str = ""
    error: str = ""

    @property
    def scores(self) -> dict[str, float | None]:
        """What the table shows of how well things are found."""
        return {
            "mAP": self.map_50_95,
            "PyTorch": self.torch_map_50_95,
            "mask mAP": self.mask_map_50_95,
            "PyTorch masks": self.torch_mask_map_50_95,
        }


def differences(rows: Sequence[Row]) -> list[str]:
    """Of each job's overrides those that not all jobs have."""
    overrides = [row.job.split() for row in rows]
    shared = set(overrides[0]).intersection(*overrides) if len(overrides) > 1 else set()
    return [" ".join(one for one in job if one not in shared) for job in overrides]
