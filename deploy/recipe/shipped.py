"""The configuration that comes with this project."""

from __future__ import annotations

from pathlib import Path


def conf_folder() -> Path:
    """The shipped configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
