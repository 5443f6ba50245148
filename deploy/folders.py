"""Folders that a run empties, and that must therefore be its own."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from deploy.recipe import RecipeError


def check_ours(folder: Path, names: Collection[str], do: str) -> None:
    """Refuse a folder that holds anything else.

    Args:
        folder: it may also be missing.
        names: what an earlier run has left there.
        do: what the user can do.

    Raises:
        RecipeError: it is a file, or holds something of somebody else.
    """
    strangers = {path.name for path in folder.glob("*")} - set(names)
    if strangers or (folder.exists() and not folder.is_dir()):
        raise RecipeError(
            f"'{folder}' is needed for the files of this run",
            expected="a new folder, or an earlier one",
            got=", ".join(sorted(strangers)) or "a file",
            do=do,
        )
