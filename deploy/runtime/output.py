"""Results of a command, to a file or to standard output."""

from __future__ import annotations

from pathlib import Path

from backends.contract import DeployError
from backends.files import written_aside


def write_text(target: str, text: str) -> None:
    """Print where ``target`` is ``-``; else write the whole file or nothing.

    Raises:
        DeployError: the file cannot be written.
    """
    if target == "-":
        print(text)
        return
    path = Path(target)
    try:
        with written_aside(path) as part:
            part.write_text(text + "\n")
    except OSError as error:
        raise DeployError(f"'{path}' cannot be written: {error.strerror}") from error
