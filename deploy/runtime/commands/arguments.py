"""Arguments that several commands of the device share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The bundle, the first argument of every command; and code of one's own that it needs."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder of the bundle")
    parser.add_argument(
        "--post",
        metavar="[ID=]MODULE:CALLABLE",
        help="a post-processing step of your own that the bundle names and that no installed "
        "package brings (default of ID: MODULE.CALLABLE)",
    )


def add_signature(parser: argparse.ArgumentParser) -> None:
    """The key that must have signed the bundle."""
    parser.add_argument(
        "--require-signature",
        type=Path,
        metavar="PUBKEY",
        help="refuse a bundle that this Ed25519 key did not sign, or with a byte changed since",
    )


def add_isolation(parser: argparse.ArgumentParser) -> None:
    """When the bundle runs in a process of its own."""
    parser.add_argument(
        "--isolate",
        choices=("auto", "always", "never"),
        default="auto",
        help="run engines and host steps in a process of their own, so that a crash is an error: "
        "auto does so unless the bundle carries the required signature or was made here by this "
        "user; never tries the bundle in a child process first (default: %(default)s)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The number of threads of the engines."""
    parser.add_argument(
        "--threads",
        type=positive_integer,
        metavar="N",
        help="threads of each engine that has this option (default: what tune has kept here, "
        "or else what the bundle records)",
    )


def add_report(parser: argparse.ArgumentParser, content: str) -> None:
    """A file for the result as JSON."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        help=f"write {content} as JSON to this file; - is standard output, and replaces the text",
    )


def positive_integer(text: str) -> int:
    """The type of a number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 up, got {text}")
    return int(text)


def positive_number(text: str) -> float:
    """The type of a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def positive_integers(text: str) -> tuple[int, ...]:
    """The type of numbers from 1 up, separated by commas; a number twice counts once."""
    return tuple(dict.fromkeys(map(positive_integer, text.split(","))))


def score(text: str) -> float:
    """The type of a detection score."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, got {text}")
    return value
