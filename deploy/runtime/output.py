"""Results of a command, to a file or to standard output."""

from __future__ import annotations

import tempfile
from pathlib import Path

from backends.contract import DeployError


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
        with tempfile.TemporaryDirectory(dir=path.absolute().parent) as scratch:
            part = Path(scratch) / path.name
            part.write_text(text + "\n")
            part.replace(path)
    except OSError as error:
        raise DeployError(f"'{path}' cannot be written: {error.strerror}") from error
