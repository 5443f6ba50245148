"""The option --version: this project's version and those of the installed engines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DISTRIBUTION = "backend-chain"


class VersionAction(argparse.Action):
    """Prints ``version_text`` and exits; nothing is read before that."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(
            option_strings,
            dest=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
            nargs=0,
            help="print the version of backend-chain and of each installed engine",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Called where the option stands on the command line."""
        print(version_text())
        parser.exit()


def version_text() -> str:
    """The project with its version, and a line for each distribution of an installed engine."""
    return "\n".join(f"{name} {number}" for name, number in _versions())


def _versions() -> Iterator[tuple[str, str]]:
    from backends import registry  # imports NumPy

    yield DISTRIBUTION, _version(DISTRIBUTION) or "(not installed as a package)"
    yield "python", sys.version.split()[0]
    engines = (name for backend in registry.names() for name in registry.about(backend).run)
    for name in dict.fromkeys(engines):
        if number := _version(name):
            yield name, number


def _version(distribution: str) -> str:
    """Of an installed distribution; empty where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
