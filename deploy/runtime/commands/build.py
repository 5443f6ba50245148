"""The command build: build the engines of a bundle where they run, and verify them there."""

from __future__ import annotations

import argparse

from deploy.runtime.commands.arguments import add_bundle, add_signature, positive_integer

_TIMEOUT = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.description = (
        "Build the engine of every step for which the bundle carries an ONNX segment, and verify "
        "the chain against the bundle's sample. After an error the bundle is as it was."
    )
    parser.epilog = "example: %(prog)s bundles/yolov3"
    add_bundle(parser)
    parser.add_argument(
        "--timeout",
        type=positive_integer,
        default=_TIMEOUT,
        metavar="SECONDS",
        help="longest time for one engine (default: %(default)s)",
    )
    add_signature(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Build and verify; false where the chain does not agree with the model."""
    from deploy.runtime.engine_build import build_engines

    return build_engines(arguments.bundle, arguments.timeout, arguments.require_signature)
