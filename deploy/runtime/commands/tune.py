"""The command tune: measure which engine and threads each step is fastest with, and keep that."""

from __future__ import annotations

import argparse

from deploy.runtime.commands.arguments import (
    add_bundle,
    add_signature,
    positive_integer,
    positive_integers,
)

_ROUNDS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Measure on this machine with which of its engines, and with how many threads, each step "
        "of a bundle is fastest. The result is kept in the user's cache folder and used whenever "
        "this user opens the bundle here."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3 --threads 1,2,4"
    add_bundle(parser)
    parser.add_argument(
        "--threads",
        type=positive_integers,
        default=(),
        metavar="N,N",
        help="numbers of threads to try (default: 1, 2, 4 and so on up to the cores)",
    )
    parser.add_argument(
        "--rounds",
        type=positive_integer,
        default=_ROUNDS,
        metavar="N",
        help="rounds in which every candidate is measured (default: %(default)s)",
    )
    parser.add_argument(
        "--forget",
        action="store_true",
        help="delete what was kept for this bundle, and measure nothing",
    )
    add_signature(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Measure, print and keep the fastest candidate."""
    from deploy.runtime.tuning.search import tune

    return tune(
        arguments.bundle,
        arguments.threads,
        arguments.rounds,
        arguments.forget,
        arguments.require_signature,
    )
