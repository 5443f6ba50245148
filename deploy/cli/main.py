"""``backend-chain``, which is also ``python -m deploy``: one command with a word for each task.

Words of the form ``key=value`` without such a word are the main job.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.terminal import program_output
from deploy.cli.desk import require_desk
from deploy.runtime.commands.cancellation import cancellable
from deploy.runtime.commands.table import COMMANDS as DEVICE_COMMANDS
from deploy.runtime.commands.table import RENAMED, Command, execute
from deploy.runtime.commands.version import version_text

PROGRAM, MAIN_JOB = "backend-chain", "deploy"
MAIN_JOB_HELP = "export, cut, convert, chain and verify a model (the main job)"

_ON_THE_DEVICE_TOO: Mapping[str, Command] = {
    "blame": Command("find the step and operator that make a bundle differ", "deploy.cli.blame"),
    "bundle": Command("pack, unpack, verify and sign bundles", "deploy.cli.bundle"),
    "doctor": Command("what is installed, what works, what to install", "deploy.cli.doctor"),
}
_DESK_ONLY: Mapping[str, Command] = {
    "inspect": Command("list cut points, and what a partition would give", "deploy.cli.inspect"),
    "evaluate": Command("scores and latency of a bundle beside its model's", "deploy.cli.evaluate"),
    "report": Command("write the page of a run again, and open it", "deploy.cli.report"),
    "device": Command("list, check and clean devices that runs measure on", "deploy.cli.device"),
    "cache": Command("list, verify and prune results of earlier runs", "deploy.cli.cache"),
    "import-mmdeploy": Command(
        "write a configuration of MMDeploy as a recipe", "deploy.cli.import_mmdeploy"
    ),
}
COMMANDS: Mapping[str, Command] = {**DEVICE_COMMANDS, **_ON_THE_DEVICE_TOO, **_DESK_ONLY}


@program_output()
def main() -> None:
    """The command line.

    Exit codes: 1 where something is wrong, 2 for wrong usage, 128 + the number of the signal where
    it was cancelled, such as 130 after Ctrl-C, and 141 where the reader of the output has ended.
    """
    with cancellable():
        _main()


def _main() -> None:
    put_working_directory_last()
    if "_ARGCOMPLETE" in os.environ:
        from deploy.cli.completion import complete

        complete()
    words = sys.argv[1:]
    first, rest = (words[0], words[1:]) if words else ("", [])
    if first in RENAMED:
        print(f"note: {first} is now called {RENAMED[first]}", file=sys.stderr)
        first = RENAMED[first]
    if first in COMMANDS:
        sys.exit(run_command(first, rest))
    elif first in ("-h", "--help"):
        print(help_text())
    elif first == "--version":
        print(version_text())
    elif first == "--install-completion":
        from deploy.cli.completion import install_completion

        sys.exit(install_completion(rest))
    elif _is_unknown_command(first):
        sys.exit(_unknown_command(first))
    else:
        _run_main_job(rest if first == MAIN_JOB else words)


def run_command(name: str, words: Sequence[str]) -> int:
    """Run a command other than the main job, and return its exit code."""
    if name in _DESK_ONLY:
        require_desk()
    parser = command_parser(name)
    try:
        arguments = parser.parse_intermixed_args(words)
    except TypeError:  # of argparse, where a command has commands of its own
        arguments = parser.parse_args(words)
    return execute(COMMANDS[name], arguments)


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a command; it imports no library that a usage error does not need."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}", description=f"{COMMANDS[name].help}."
    )
    COMMANDS[name].load().add_arguments(parser)
    return parser


def help_text() -> str:
    """All commands, one line each."""
    helps = {name: command.help for name, command in COMMANDS.items()}
    return "\n".join(
        (
            f"usage: {PROGRAM} COMMAND ...",
            f"       {PROGRAM} model=MODEL backend=BACKEND [key=value ...]",
            "",
            "commands:",
            *(f"  {name:<17}{text}" for name, text in {MAIN_JOB: MAIN_JOB_HELP, **helps}.items()),
            "",
            "options:",
            "  -h, --help              this text; after a command, its arguments",
            "  --version               of this project and of the installed engines",
            "  --install-completion    completion for this shell; or name bash, zsh or fish",
            "",
            f"example: {PROGRAM} {MAIN_JOB} model=yolov3 backend=BACKEND",
        )
    )


def put_working_directory_last() -> None:
    """Let a user's own models be imported, and no file of theirs take the place of ours.

    ``python -m`` puts the working directory first, a console script leaves it out.
    """
    here, root = Path.cwd(), Path(__file__).resolve().parents[2]
    if here != root:
        sys.path[:] = [path for path in sys.path if path and Path(path) != here] + [str(here)]


def _run_main_job(words: Sequence[str]) -> None:
    require_desk()
    from deploy.cli.catalog import usage

    if not words or "-h" in words or "--help" in words:
        print(usage())
        sys.exit(0 if words else 2)
    from deploy.cli.app import main as run_main_job

    run_main_job(words)


def _is_unknown_command(word: str) -> bool:
    return word.isidentifier() and word != MAIN_JOB


def _unknown_command(word: str) -> str:
    known = [MAIN_JOB, *COMMANDS]
    near = difflib.get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"error: command: expected one of {', '.join(known)}, got {word}.{hint}"
