"""Conversions by the real TensorRT for RTX: its standalone converter, several runs in a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.parsersuite.batches import environment

# importing the library takes longer than most of the conversions
_PROGRAM = """
import contextlib, io, json, sys
from backends.convert_cli import main

for arguments in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            main("tensorrt_rtx", arguments)
        text = said.getvalue()
    except SystemExit as error:
        text = str(error)
    print(json.dumps(text), flush=True)
"""


def convert_each(commands: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What the converter says for each command line, by the same names: a size, or an error.

    The library runs in a child process that has neither the double nor the simulated driver.
    """
    done = subprocess.run(
        ["env", *environment(), sys.executable, "-c", _PROGRAM],
        input=json.dumps(list(commands.values())),
        capture_output=True,
        text=True,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]
    assert len(said) == len(commands), f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return dict(zip(commands, said, strict=True))


def command(path: Path, *arguments: str) -> list[str]:
    """The arguments that convert a file into a folder beside it."""
    return [str(path), str(path.with_suffix(".out")), "--no-check", *arguments]
