"""``python -m tests.fuzzing.planted``: one fault of each sort, to see that each is seen."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from backends.contract import DeployError
from tests.fuzzing.campaign import run
from tests.fuzzing.ground import Ground, ground
from tests.fuzzing.paths import CANARY
from tests.fuzzing.trees import Node
from tests.fuzzing.worker import Door, Given, Job

_SECONDS = 1.0  # that a case may take
_MEMORY = 1 << 30


def main() -> None:
    """Print the verdict and the detail of each planted case as JSON."""
    with ground([]) as place:
        faults = _faults(place)
        names = list(faults)

        def target(given: Path, out: Path, door: Door) -> None:
            faults[given.read_text()](out)

        def make(number: int) -> Given:
            return Given({"name.txt": Node(names[number].encode())}, "name.txt", ("planted",))

        job = Job("planted", make, target, place, _MEMORY)
        found = run(job, range(len(names)), _SECONDS)
        print(
            json.dumps({names[one.number]: [one.verdict, one.place, one.detail] for one in found})
        )


def _faults(place: Ground) -> Mapping[str, Callable[[Path], object]]:
    canary = place.outside / CANARY
    return {
        "accept": lambda out: (out / "file").write_text("in the case's own folder"),
        "refuse": lambda out: _refuse(),
        "uncaught exception": lambda out: {}["missing"],
        "crash": lambda out: os.kill(os.getpid(), 11),
        "abort": lambda out: os.abort(),
        "exit": lambda out: os._exit(0),
        "hang": lambda out: _wait_for_ever(),
        "hang in native code": lambda out: os.read(os.pipe()[0], 1),
        "memory": lambda out: np.ones(2 * _MEMORY, np.uint8),
        "native read": lambda out: ctypes.CDLL(None).open(os.fsencode(canary), os.O_RDONLY),
        "read": lambda out: canary.read_bytes(),
        "read and crash": lambda out: (canary.read_bytes(), os.kill(os.getpid(), 11)),
        "listing": lambda out: list(canary.parent.iterdir()),
        "read elsewhere": lambda out: Path("/etc/passwd").read_text(),
        "write beside": lambda out: (out.parent / "beside.txt").write_text("x"),
        "native write beside": lambda out: ctypes.CDLL(None).creat(b"planted.bin", 0o600),
        "native folder elsewhere": lambda out: ctypes.CDLL(None).mkdir(b"../planted", 0o700),
        "program": lambda out: subprocess.run(["true"], check=True),
        "shell": lambda out: os.system("true"),
        "still works": lambda out: None,
    }


def _refuse() -> None:
    raise DeployError("no")


def _wait_for_ever() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
