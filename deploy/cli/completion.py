"""Completion of the command line by bash, zsh and fish, through argcomplete."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import argcomplete
from argcomplete.shell_integration import shellcode

from deploy.cli.catalog import GROUPS, config_choices
from deploy.cli.main import COMMANDS, MAIN_JOB, PROGRAM, command_parser
from deploy.cli.words import recipe_keys

_OPTIONS = ("--version", "--install-completion")
_SCRIPTS = {  # where each shell looks for them, below the user's data folder
    "bash": f"bash-completion/completions/{PROGRAM}",
    "zsh": f"zsh/site-functions/_{PROGRAM}",
    "fish": f"fish/vendor_completions.d/{PROGRAM}.fish",
}


def complete() -> None:
    """Answer the shell, and end the process."""
    words = shlex.split(os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])], posix=False)
    argcomplete.autocomplete(_parser(words[1:]))


def install_completion(shells: Sequence[str]) -> int:
    """Write the script of a shell where it looks for it, and return the exit code.

    Args:
        shells: its name, ``bash``, ``zsh`` or ``fish``; by default the one of ``$SHELL``.
    """
    shell = shells[0] if shells else Path(os.environ.get("SHELL", "bash")).name
    if shell not in _SCRIPTS:
        print(f"error: shell: expected one of {', '.join(_SCRIPTS)}, got {shell}", file=sys.stderr)
        return 2
    path = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / _SCRIPTS[shell]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shellcode([PROGRAM], shell=shell))
    except OSError as error:
        print(f"error: '{path}' cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{path}: completion of {PROGRAM} for new shells; or now: source '{path}'")
    return 0


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The arguments that can stand here: those of the command, or the words of the main job."""
    parser = argparse.ArgumentParser(prog=PROGRAM)
    if words and words[0] in COMMANDS:
        commands = parser.add_subparsers()
        defined = command_parser(words[0])
        commands.add_parser(words[0], parents=[defined], add_help=False)
        return parser
    argument = parser.add_argument("words", nargs="*")
    argument.completer = _main_job_words  # type: ignore[attr-defined]
    if not words or (len(words) == 1 and words[0] != MAIN_JOB):
        argument.completer = _first_words  # type: ignore[attr-defined]
        for option in _OPTIONS:
            parser.add_argument(option, action="store_true")
    return parser


def _first_words(prefix: str, **_context: object) -> list[str]:
    return [MAIN_JOB, *COMMANDS, *_main_job_words(prefix)]


def _main_job_words(prefix: str, **_context: object) -> list[str]:
    """``model=yolov3`` and so on for the groups; ``key=`` for the other keys of a recipe."""
    key, equals, _value = prefix.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if equals:
        choices = config_choices(group) if group in GROUPS else {}
        return [f"{key}={name}" for name in choices]
    plus = "+" if prefix.startswith("+") else ""
    return [f"{plus}{name}=" for name in GROUPS] + [f"{name}=" for name in recipe_keys()]
