"""What a bundle was made of, kept beside it so that PyTorch can be asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.files import atomic_write
from backends.user_cache import add_digest, has_digest
from deploy.recipe.schema import Recipe, RecipeError

BUILD_RECORD = "made.json"


_KIND = "made"


def write_build_record(work: Path, recipe: Recipe, points: Mapping[str, str]) -> None:
    """Write a checked recipe, and the point of each tensor of its chain."""
    made = {"recipe": asdict(recipe), "points": dict(points)}
    text = json.dumps(made, indent=2)
    with atomic_write(work / BUILD_RECORD) as part:
        part.write_text(text)
    add_digest(_KIND, _digest(text))


def read_build_record(
    bundle: Path, trusted: bool = False
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The recipe as plain mappings, and the point of each tensor.

    Args:
        bundle: the bundle.
        trusted: whether the file may come from elsewhere: it names code, which will be run.

    Raises:
        RecipeError: the folder beside the bundle has no such file, or not one of this user's.
    """
    bundle = bundle.absolute()
    path = bundle.with_name(f"{bundle.name}.work") / BUILD_RECORD
    try:
        text = path.read_text()
        made = json.loads(text)
        found = _numbered(made["recipe"]), made["points"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"what bundle '{bundle}' was made of",
            expected=f"'{path}', which python -m deploy left beside it",
            got=f"{type(error).__name__}: {error}",
            do="Run python -m deploy again for this bundle; or leave PyTorch out: "
            "python -m deploy.runtime eval.",
        ) from error
    if not trusted and not has_digest(_KIND, _digest(text)):
        raise RecipeError(
            f"'{path}' was not written by a run of yours on this machine, and it names code "
            f"({made['recipe']['model'].get('target')})",
            do="Run python -m deploy again for this bundle; or, if you know who wrote it, "
            "pass --trust.",
        )
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _numbered(recipe: dict[str, Any]) -> dict[str, Any]:
    """Axes are numbers, which JSON cannot have as keys."""
    for segment in recipe["partition"]["segments"]:
        segment["dynamic"] = {
            name: {int(axis): sizes for axis, sizes in axes.items()}
            for name, axes in segment["dynamic"].items()
        }
    return recipe
