"""Folders that a run empties, and that must therefore be its own."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from backends.files import PARTIAL
from deploy.recipe.schema import RecipeError

_LOCK = ".lock"


def check_own_folder(folder: Path, names: Collection[str], do: str) -> None:
    """Refuse a folder that holds anything else.

    Args:
        folder: it may also be missing.
        names: what an earlier run has left there.
        do: what the user can do.

    Raises:
        RecipeError: it is a file, or holds something of somebody else.
    """
    found = {path.name for path in folder.glob("*") if not path.name.startswith(PARTIAL)}
    strangers = found - {_LOCK, *names}
    if strangers or (folder.exists() and not folder.is_dir()):
        raise RecipeError(
            f"'{folder}' is needed for the files of this run",
            expected="a new folder, or an earlier one",
            got=", ".join(sorted(strangers)) or "a file",
            do=do,
        )


@contextmanager
def hold_work_folder(folder: Path) -> Iterator[None]:
    """Have a folder for this process alone, and remove it when the user cancels.

    Raises:
        RecipeError: another process has it.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)  # the system takes it back from a process that dies
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RecipeError(
            f"'{folder}' is in use by another run",
            do="Wait for it, or pass another bundle=FOLDER.",
        ) from error
    try:
        yield
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_empty(made)
        raise
    finally:
        lock.release()
        if [path.name for path in folder.glob("*")] == [_LOCK]:
            shutil.rmtree(folder)  # nothing was done
            _remove_empty(made)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Take back folders, the innermost first, up to one that another run has come to use."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def empty_folder(folder: Path) -> None:
    """Remove everything in a held folder."""
    for path in folder.iterdir():
        if path.name == _LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
