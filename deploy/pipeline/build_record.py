"""The build record ``made.json``: the recipe of a bundle, to build its PyTorch model again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.files import atomic_write, check_regular
from backends.user_cache import add_digest, has_digest
from deploy.recipe.output_paths import WorkFile, work_folder
from deploy.recipe.schema import Recipe, RecipeError

_KIND = "made"  # of the records that this user's runs have written


def write_build_record(work: Path, recipe: Recipe, points: Mapping[str, str]) -> None:
    """Write the record into a work folder, and remember that this user wrote it.

    Args:
        work: the work folder of the bundle.
        recipe: as it was checked.
        points: each tensor of the chain, and its point in the model.
    """
    text = json.dumps({"recipe": asdict(recipe), "points": dict(points)}, indent=2)
    with atomic_write(work / WorkFile.BUILD_RECORD) as part:
        part.write_text(text)
    add_digest(_KIND, _digest(text))


def read_build_record(
    bundle: Path, trusted: bool = False
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The recipe as plain mappings, and the point of each tensor.

    Args:
        bundle: the bundle.
        trusted: whether a record that this user did not write is accepted. It names code that
            will be run.

    Raises:
        RecipeError: the work folder has no record, or one that is not trusted.
    """
    bundle = bundle.absolute()
    path = work_folder(bundle) / WorkFile.BUILD_RECORD
    try:
        check_regular(path)
        text = path.read_text()
        record = json.loads(text)
        recipe, points = _with_numeric_axes(record["recipe"]), record["points"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"the build record of bundle '{bundle}'",
            expected=f"'{path}', which python -m deploy writes",
            got=f"{type(error).__name__}: {error}",
            do="Run python -m deploy again for this bundle; or evaluate without PyTorch: "
            "python -m deploy.runtime eval.",
        ) from error
    if not trusted and not has_digest(_KIND, _digest(text)):
        raise RecipeError(
            f"'{path}' was not written by a run of yours on this machine, and it names code "
            f"({recipe['model'].get('target')})",
            do="Run python -m deploy again for this bundle; or, if you trust its author, "
            "pass --trust.",
        )
    return recipe, points


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _with_numeric_axes(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe with axes as numbers; JSON has only strings as keys."""
    for segment in recipe["partition"]["segments"]:
        segment["dynamic"] = {
            name: {int(axis): sizes for axis, sizes in axes.items()}
            for name, axes in segment["dynamic"].items()
        }
    return recipe
