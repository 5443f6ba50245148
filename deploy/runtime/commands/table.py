"""Which commands a device has, and how one is run."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple, Protocol, cast


class CommandModule(Protocol):
    """What the module of a command offers; it imports no heavy library by itself."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, and an example as the epilog."""
        ...

    def run(self, arguments: argparse.Namespace) -> bool:
        """Run the command; true is success.

        Raises:
            DeployError: what was asked for cannot be done.
        """
        ...


class Command(NamedTuple):
    """A command.

    Attributes:
        help: what it does, in one line.
        module: the import path of its ``CommandModule``.
    """

    help: str
    module: str

    def load(self) -> CommandModule:
        """Import its module."""
        return cast(CommandModule, import_module(self.module))


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        "run pictures, videos or tensors through the bundle", "deploy.runtime.commands.run"
    ),
    "check": Command(
        "replay the bundle's sample and compare the outputs with the reference",
        "deploy.runtime.commands.check",
    ),
    "bench": Command(
        "measure the latency of a call and of each of its parts", "deploy.runtime.commands.bench"
    ),
    "eval": Command(
        "compute the scores on a data set (mAP, accuracy, mean IoU), and the latency",
        "deploy.runtime.commands.eval",
    ),
    "tune": Command(
        "measure with which engine and threads each step is fastest here, and keep the result",
        "deploy.runtime.commands.tune",
    ),
    "build": Command(
        "build the engines of a bundle made with backend.build=device, and verify it",
        "deploy.runtime.commands.build",
    ),
    "measure": Command(
        "build, check, time and evaluate the bundle, and write all of it as one record",
        "deploy.runtime.commands.measure",
    ),
}


RENAMED: Mapping[str, str] = {"finish": "build"}
"""Old names of commands, which still work."""


def execute(command: Command, arguments: argparse.Namespace) -> int:
    """Run a command whose arguments are parsed; warnings become single lines.

    Args:
        command: one of ``COMMANDS``.
        arguments: what the parser with the command's arguments returned.

    Returns:
        The exit code: 0 for success, else 1.

    Raises:
        SystemExit: with the text of an error that the user caused. With DEPLOY_TRACEBACK in the
            environment the error itself is raised.
    """
    module = command.load()
    from backends.contract import DeployError  # imports NumPy; the arguments are valid by now

    warnings.formatwarning = _one_line
    try:
        _register_own_post(arguments)
        return 0 if module.run(arguments) else 1
    except (DeployError, OSError) as error:
        if "DEPLOY_TRACEBACK" in os.environ:
            raise
        sys.exit(f"error: {error}")


def _register_own_post(arguments: argparse.Namespace) -> None:
    if word := getattr(arguments, "post", None):
        from deploy.runtime.execution.own_posts import register_word

        register_word(word)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return f"warning: {message}\n"
