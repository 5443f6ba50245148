"""``python -m tests.fuzzing.planted_holes FOLDER KIND HOLE``: a hole in the product.

Each hole switches a check off, or lets the product do what it never does. The kind's own cases have
to find it.
"""

from __future__ import annotations

import hmac
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import mock

from deploy.cli import app
from deploy.pipeline import cache_store
from deploy.runtime.bundle import integrity, manifest
from deploy.runtime.pipeline import Pipeline
from tests.fuzzing.bundle_values import PORT
from tests.fuzzing.shares import Asked, outcomes

_CASES = 300  # in which a hole has to be found
_ENOUGH = 60  # cases after which any fault will do

Hole = tuple[object, str, Callable[..., object]]


def main() -> None:
    """Print the first fault that a hole makes; nothing where it is missed."""
    folder, kind, hole = Path(sys.argv[1]), *sys.argv[2:]
    print(_first_fault(kind, HOLES[kind][hole], folder))


def _first_fault(kind: str, holes: Sequence[Hole], folder: Path) -> str:
    asked = Asked(kind, range(_CASES), folder, seed=0, forked=True, kept=False)
    first = ""
    with ExitStack() as opened:
        for hole in holes:
            opened.enter_context(mock.patch.object(*hole))
        for outcome in outcomes(asked, 1):
            if outcome.fault:
                first = first or f"{outcome.verdict} {outcome.place} {outcome.detail}"[:4000]
            if outcome.verdict == "escape":
                return f"escape {outcome.place} {outcome.detail}"[:4000]
            if first and outcome.number >= _ENOUGH:
                break
    return first


def _connecting(*_: object, **__: object) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", PORT)):
        pass


def _forking(*_: object, **__: object) -> None:
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)


def _sound(*_: object) -> str:
    return ""


HOLES: Mapping[str, Mapping[str, Sequence[Hole]]] = {
    "configuration": {
        "folders are not looked at": [(app, "check_arguments", lambda words: None)],
    },
    "cache": {
        "seals are not compared": [(hmac, "compare_digest", lambda one, other: True)],
        "links are followed": [
            (cache_store.CacheStore, "_fault", _sound),
            (
                cache_store,
                "_entries_of",
                lambda folder: sorted(folder.iterdir()) if folder.is_dir() else [],
            ),
        ],
    },
    "bundle-run": {
        "names lead away": [(manifest, "name_fault", _sound), (integrity, "file_fault", _sound)],
        "something connects": [(Pipeline, "__exit__", _connecting)],
        "a process is left": [(Pipeline, "__exit__", _forking)],
    },
}

if __name__ == "__main__":
    main()
