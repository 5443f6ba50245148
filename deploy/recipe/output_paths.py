"""Where a run writes: the bundle, and the work folder beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """Where a run writes: the bundle, and the stages' own files beside it."""

    bundle: Path
    work: Path


def work_folder(bundle: Path) -> Path:
    """The folder beside a bundle."""
    return bundle.with_name(f"{bundle.name}.work")
