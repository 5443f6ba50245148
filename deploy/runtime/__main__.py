"""The command line of the device: python -m deploy.runtime COMMAND ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from backends.terminal import program_output
from deploy.runtime.commands.cancellation import cancellable
from deploy.runtime.commands.table import COMMANDS, RENAMED, execute
from deploy.runtime.commands.version import VersionAction


@program_output()
def main(words: Sequence[str] | None = None) -> None:
    """Run a command; exit code 0 is success, 1 a failure, and 2 wrong usage.

    128 + the number of a signal is a cancelled one, such as 130 after Ctrl-C; 141 is one of which
    the reader of the output has ended.

    Args:
        words: the command and its arguments; by default those of the process.
    """
    with cancellable():
        words = _current_names(sys.argv[1:] if words is None else words)
        arguments = _parser(words[0] if words else "").parse_args(words)
        sys.exit(execute(COMMANDS[arguments.command], arguments))


def _current_names(words: Sequence[str]) -> list[str]:
    """The words, with the command's present name in the place of an old one."""
    if not words or words[0] not in RENAMED:
        return list(words)
    command = RENAMED[words[0]]
    print(f"note: {words[0]} is now called {command}", file=sys.stderr)
    return [command, *words[1:]]


def _parser(chosen: str) -> argparse.ArgumentParser:
    """The parser of all commands; only the module of the chosen one is imported."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.runtime",
        description="Open a bundle on a device: run, check, measure, tune and build it.",
        epilog="example: %(prog)s run bundles/yolov3 photo.jpg",
    )
    parser.add_argument("--version", action=VersionAction)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help)
        if name == chosen:
            command.load().add_arguments(subparser)
    return parser


if __name__ == "__main__":
    main()
