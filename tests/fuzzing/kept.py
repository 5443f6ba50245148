"""Cases that were faults once, kept as they were handed over: no mutator can change them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzzing.cases import fits, rehash
from tests.fuzzing.ground import SAMPLE, Ground
from tests.fuzzing.trees import from_json, to_json
from tests.fuzzing.worker import Given

_FOLDER = Path(__file__).with_name("kept")


def names(kind: str) -> list[str]:
    """What is kept of a kind."""
    return sorted(path.stem for path in (_FOLDER / kind).glob("*.json"))


def kinds() -> list[str]:
    """The kinds of which something is kept."""
    return sorted(path.name for path in _FOLDER.iterdir()) if _FOLDER.is_dir() else []


def keep(kind: str, name: str, given: Given) -> Path:
    """Write a case that was made for the ground ``SAMPLE``."""
    path = _FOLDER / kind / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        "entry": given.entry,
        "changes": given.changes,
        "hashes fit": fits(given.tree),
        "tree": to_json(given.tree),
    }
    path.write_text(json.dumps(stored, indent=1) + "\n")
    return path


def kept(kind: str, number: int, ground: Ground) -> Given:
    """The kept case of this number, as it is on another ground."""
    name = names(kind)[number]
    stored = json.loads((_FOLDER / kind / f"{name}.json").read_text())
    tree = from_json(stored["tree"], str(SAMPLE), str(ground.root))
    if stored["hashes fit"]:
        rehash(tree)
    return Given(tree, stored["entry"], (name, *stored["changes"]))
