"""The work folder of a run: owned by the project, locked while in use, emptied at the start."""

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
    """Check that a folder, which is about to be emptied, has files of earlier runs only.

    Args:
        folder: it may be missing.
        names: of files and folders that a run writes there.
        do: the advice of the error.

    Raises:
        RecipeError: it is a file, or has other files.
    """
    entries = {path.name for path in folder.glob("*") if not path.name.startswith(PARTIAL)}
    foreign = entries - {_LOCK, *names}
    if foreign or (folder.exists() and not folder.is_dir()):
        raise RecipeError(
            f"'{folder}' is needed for the files of this run",
            expected="a new folder, or one of an earlier run",
            got=", ".join(sorted(foreign)) or "a file",
            do=do,
        )


@contextmanager
def lock_work_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; it is created if missing, and removed on Ctrl-C.

    Raises:
        RecipeError: another process has locked it.
    """
    created = [parent for parent in folder.parents if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)  # the system releases it when the process dies
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
        _remove_empty(created)
        raise
    finally:
        lock.release()
        if [path.name for path in folder.glob("*")] == [_LOCK]:
            shutil.rmtree(folder)  # the run ended before its first stage
            _remove_empty(created)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, innermost first, up to one that another run uses by now."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def empty_folder(folder: Path) -> None:
    """Remove everything in a locked folder but its lock."""
    for path in folder.iterdir():
        if path.name == _LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
