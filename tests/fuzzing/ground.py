"""Where a campaign takes place: the folders of the cases, and the one that none may touch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.paths import CANARY, MIRROR
from tests.fuzzing.trees import Seed, write

_PREFIXES = {"/dev/shm": "fuzz-", "/tmp": "fuzzing--"}  # in memory where that can be
SAMPLE = Path(
    "/dev/shm/fuzz-12345678"
)  # a root like any other: mutants name it, and all are as long


@dataclass(frozen=True)
class Ground:
    """Folders.

    Attributes:
        root: of everything; always a path of the same length, since it stands in mutants.
    """

    root: Path

    @property
    def outside(self) -> Path:
        """The canaries, which no case may touch."""
        return self.root / "outside"

    @property
    def scratch(self) -> Path:
        """The home and the temporary files of the worker."""
        return self.root / "scratch"

    @property
    def log(self) -> Path:
        """What the worker writes to its standard output and error."""
        return self.root / "worker.log"

    def home(self, number: int) -> Path:
        """The folder of a case: what is ``given``, and ``out`` to write into."""
        return self.root / "cases" / str(number)


@contextmanager
def ground(seeds: Sequence[Seed]) -> Iterator[Ground]:
    """A new ground, with a copy of every seed among the canaries."""
    place = next(place for place in _PREFIXES if os.access(place, os.W_OK))
    made = Ground(Path(tempfile.mkdtemp(prefix=_PREFIXES[place], dir=place)))
    assert len(str(made.root)) == len(str(SAMPLE)), made.root
    made.outside.mkdir()
    made.scratch.mkdir()
    (made.outside / CANARY).write_bytes(b"A canary: whoever reads this has escaped.\n" * 64)
    for seed in seeds:
        write(seed.tree, made.outside / MIRROR / seed.name)
    try:
        yield made
    finally:
        shutil.rmtree(made.root, ignore_errors=True)


def settle(scratch: Path) -> None:
    """Give this process and its children a home of their own."""
    os.environ |= {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    tempfile.tempdir = str(scratch)
