"""Commands that are sent a signal, the folder that they begin with, and what must hold after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.runtime.bundle.engine_choice import choices_from
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.model_sources import TWO_PARTS
from tests.killing.scenarios import MODULE_WORDS
from tests.killing.started import forked

_ROOT = Path(__file__).resolve().parents[2]
_DEMO = _ROOT / "deploy" / "models" / "yolov3" / "demo"
_DESK, _DEVICE = "deploy", "deploy.runtime"
_PICTURES = 6  # of which mAP is computed
_OLD_SCORES = '{"old": "scores"}\n'


@dataclass(frozen=True)
class Variant:
    """One way to call a command.

    Attributes:
        prepare: makes the folder that the command begins with; done once, and copied.
        module: what ``python -m`` runs.
        words: of its command line.
    """

    prepare: Callable[[Path], None]
    module: str
    words: Sequence[str]


@dataclass(frozen=True)
class Command:
    """A command in its variants.

    Attributes:
        variants: tried in turn.
        check: raises where the folder has something damaged; otherwise says whether the result is
            ``old`` or ``new``.
    """

    variants: Sequence[Variant]
    check: Callable[[Path], str]


def _done(folder: Path, module: str, *words: str) -> None:
    code = forked(folder, module, words).wait()
    assert code == 0, (folder / "log").read_text()


def _with_bundle(folder: Path, *words: str) -> None:
    (folder / "killed_net.py").write_text(TWO_PARTS)
    _done(folder, _DESK, *MODULE_WORDS, "bundle=b", *words)


def _small(folder: Path) -> None:
    _with_bundle(folder, "backend.options.threads=1", "cache=off")


def _warm(folder: Path) -> None:
    """The export and the engines that the next run asks for are in its cache."""
    _with_bundle(folder, "backend.options.threads=2", "cache=warm")
    _with_bundle(folder, "backend.options.threads=1", "cache=off")


def _pending(folder: Path) -> None:
    _with_bundle(folder, "backend.build=device", "cache=off")


def _built(folder: Path) -> None:
    _pending(folder)
    _done(folder, _DEVICE, "build", "b")


def _tuned(folder: Path) -> None:
    _with_bundle(folder, "cache=off")
    _done(folder, _DEVICE, "tune", "b", "--threads", "1", "--rounds", "1")
    (folder / "kept-at").write_text(str(_kept_choices(folder).stat().st_mtime_ns))


def _detector(folder: Path) -> None:
    words = ["+model=yolov3", "+backend=onnxruntime", "bundle=b", "cache=off", "bench.runs=0"]
    _done(folder, _DESK, *words, "verify.images=1")
    shutil.rmtree(folder / "b.work")
    (folder / "scores.json").write_text(_OLD_SCORES)


def _whole(folder: Path) -> None:
    manifest = read_manifest(folder / "b")
    verify_all(folder / "b", manifest)


def _check_deploy(folder: Path) -> str:
    _whole(folder)
    manifest = read_manifest(folder / "b")
    assert manifest.verification.status == "passed", manifest.verification.status
    threads = {step.options["threads"] for step in manifest.steps}
    assert len(threads) == 1, threads
    return "old" if threads == {1} else "new"


def _check_build(folder: Path) -> str:
    _whole(folder)
    pending = {step.pending for step in read_manifest(folder / "b").steps}
    assert len(pending) == 1, "some steps are built and others are not"
    return "old" if pending == {True} else "new"


def _check_tune(folder: Path) -> str:
    _whole(folder)
    kept = _kept_choices(folder)
    assert choices_from(kept.read_text())
    return "old" if str(kept.stat().st_mtime_ns) == (folder / "kept-at").read_text() else "new"


def _kept_choices(folder: Path) -> Path:
    (kept,) = (folder / "home").rglob("tuned/*")
    return kept


def _check_map(folder: Path) -> str:
    _whole(folder)
    text = (folder / "scores.json").read_text()
    if text == _OLD_SCORES:
        return "old"
    assert json.loads(text)["pictures"] == _PICTURES, text
    return "new"


def commands() -> Mapping[str, Command]:
    """The commands by name; ``map`` computes mAP over a data set and writes a file."""
    again = [*MODULE_WORDS, "bundle=b", "backend.options.threads=2", "bench.runs=1"]
    tuning = ["b", "--threads", "1,2", "--rounds", "2"]
    scores = [
        "b",
        str(_DEMO / "eval" / "annotations.json"),
        "--limit",
        "6",
        "--json",
        "scores.json",
    ]
    return {
        "deploy": Command(
            [
                Variant(_small, _DESK, [*again, "cache=off"]),
                Variant(_warm, _DESK, [*again, "cache=warm"]),
            ],
            _check_deploy,
        ),
        "tune": Command(
            [
                Variant(_tuned, _DEVICE, ["tune", *tuning]),
                Variant(_tuned, _DESK, ["tune", *tuning]),
            ],
            _check_tune,
        ),
        "build": Command(
            [
                Variant(_pending, _DEVICE, ["build", "b"]),
                Variant(_built, _DESK, ["build", "b"]),
            ],
            _check_build,
        ),
        "map": Command(
            [
                Variant(_detector, _DEVICE, ["eval", *scores]),
                Variant(_detector, _DESK, ["eval", *scores]),
            ],
            _check_map,
        ),
    }
