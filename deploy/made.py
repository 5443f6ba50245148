"""What a bundle was made of, kept beside it so that PyTorch can be asked again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.recipe import Recipe, RecipeError

MADE = "made.json"


def write_made(work: Path, recipe: Recipe, points: Mapping[str, str]) -> None:
    """Write a checked recipe, and the point of each tensor of its chain."""
    made = {"recipe": asdict(recipe), "points": dict(points)}
    (work / MADE).write_text(json.dumps(made, indent=2))


def read_made(bundle: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The recipe as plain mappings, and the point of each tensor.

    Raises:
        RecipeError: the folder beside the bundle has no such file.
    """
    bundle = bundle.absolute()
    path = bundle.with_name(f"{bundle.name}.work") / MADE
    try:
        made = json.loads(path.read_text())
        return _numbered(made["recipe"]), made["points"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"what bundle '{bundle}' was made of",
            expected=f"'{path}', which python -m deploy left beside it",
            got=f"{type(error).__name__}: {error}",
            do="Run python -m deploy again for this bundle; or leave PyTorch out: "
            "python -m deploy.runtime eval.",
        ) from error


def _numbered(recipe: dict[str, Any]) -> dict[str, Any]:
    """Axes are numbers, which JSON cannot have as keys."""
    for segment in recipe["partition"]["segments"]:
        segment["dynamic"] = {
            name: {int(axis): sizes for axis, sizes in axes.items()}
            for name, axes in segment["dynamic"].items()
        }
    return recipe
