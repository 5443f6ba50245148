"""The commands of a README, run as they stand there, and what the README says they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.commands import run_here

_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?(e[+-]\d+)?")


@dataclass(frozen=True)
class Block:
    """Commands, and the lines that the README shows of what they print."""

    commands: tuple[str, ...]
    shown: tuple[str, ...]


def read_blocks(readme: Path) -> list[Block]:
    """The blocks of commands in a README; a block of text belongs to the commands before it."""
    blocks: list[Block] = []
    for language, text in _BLOCK.findall(readme.read_text()):
        if language == "sh":
            commands = text.replace("\\\n", " ").strip().splitlines()
            blocks.append(Block(tuple(commands), ()))
        else:
            blocks[-1] = Block(blocks[-1].commands, tuple(text.splitlines()))
    return blocks


def run_blocks(folder: Path) -> None:
    """Run all commands of the README in a folder there, and look for the lines that it shows.

    Numbers may be others than those shown: times, and the last digits of trained weights.
    """
    blocks = read_blocks(folder / "README.md")
    for block in blocks:
        printed = [_loose(line) for command in block.commands for line in _run(command, folder)]
        missing = [line for line in block.shown if _loose(line) not in printed]
        assert not missing, f"{folder.name} prints no such line: {missing}; got {printed}"


def _run(command: str, folder: Path) -> list[str]:
    """The lines that a command prints; a module of Python runs in this process."""
    words = shlex.split(command)
    if words[:2] == ["python", "-m"]:
        done = run_here(*words[2:], cwd=folder)
    else:
        programs = {"python": [sys.executable], "pip": [sys.executable, "-m", "pip"]}
        line = [*programs[words[0]], *words[1:]]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()


def _loose(line: str) -> str:
    """The line with each number as 0 and each run of spaces as one."""
    return " ".join(_NUMBER.sub("0", line).split())
