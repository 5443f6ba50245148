"""What is done, how it is begun, and what must hold whenever it was struck."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from deploy.cli.compose import compose
from deploy.pipeline.cache_store import CacheStore
from deploy.pipeline.run import run_pipeline
from deploy.recipe.output_paths import RunPaths
from deploy.report.progress import Progress
from deploy.runtime.bundle.archive import pack, unpack
from deploy.runtime.bundle.integrity import verify_all
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.engine_build import build_engines
from tests.helpers.model_sources import TWO_PARTS

MODULE_WORDS = [
    "+model=module",
    "model.target=killed_net:Net",
    "model.inputs={image: {shape: [1, 3, 8, 8]}}",
    "+backend=onnxruntime",
    "partition.segments=[{name: body, start: [image], end: [head:input]},"
    " {name: head, start: [head:input], end: [head:output]}]",
    "bench.runs=0",
]


@dataclass(frozen=True)
class Scenario:
    """Something that is done in a folder.

    Attributes:
        prepare: makes the folder as it is before.
        act: what may be struck; done again afterwards, it must succeed.
        check: what must hold after a strike.
        done: what must hold at the end.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], object]
    check: Callable[[Path], None]
    done: Callable[[Path], None]


def _run(folder: Path, *words: str) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    recipe = compose([*MODULE_WORDS, f"cache={folder}/cache", *words])
    places = RunPaths(folder / "b", folder / "b.work")
    run_pipeline(recipe, places, Progress(Console(file=StringIO())))


def _with_net(folder: Path) -> None:
    folder.mkdir()
    (folder / "killed_net.py").write_text(TWO_PARTS)


def _whole(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    verify_all(bundle, manifest)
    assert manifest.verification.status == "passed", manifest.verification.status


def _check_run(folder: Path) -> None:
    """An earlier bundle is whole, under its name or where the next run takes it from."""
    bundle, aside = folder / "b", folder / "b.work" / "bundle.old"
    had_one = (folder / "earlier").exists()
    if bundle.exists() or had_one:
        _whole(bundle if bundle.exists() else aside)
    store = CacheStore(folder / "cache", 1 << 30)
    assert not [entry.subject for entry in store.entries() if store.damage(entry)]
    ours = {"killed_net.py", "b", "b.work", "cache", "earlier", "__pycache__"}
    strangers = {path.name for path in folder.iterdir()} - ours
    assert not {name for name in strangers if not name.startswith((".part-", "tmp"))}, strangers


def _done_run(folder: Path) -> None:
    _whole(folder / "b")
    assert not (folder / "b.work" / "bundle.old").exists()


def _check_finish(folder: Path) -> None:
    """The bundle is as it came, or finished; nothing between."""
    manifest = read_manifest(folder / "b")
    listed = {name: entry for name, entry in manifest.files.items() if entry.kind != "picture"}
    assert listed
    from deploy.runtime.bundle.integrity import verify_files

    verify_files(folder / "b", manifest, listed)
    assert len({step.pending for step in manifest.steps}) == 1


def _done_finish(folder: Path) -> None:
    _whole(folder / "b")


def _check_pack(folder: Path) -> None:
    archive, again = folder / "b.zip", folder / "again"
    if archive.exists():
        probe = folder.with_name(f"{folder.name}.probe")
        unpack(archive, probe)
        shutil.rmtree(probe)
    if again.exists():
        _whole(again)


def _pack(folder: Path) -> None:
    pack(folder / "b", folder / "b.zip")
    shutil.rmtree(folder / "again", ignore_errors=True)
    unpack(folder / "b.zip", folder / "again")


def scenarios(models: Path) -> dict[str, Scenario]:
    """Every scenario; ``models`` is a folder for what several of them begin with."""

    def begun(name: str, *words: str) -> Path:
        made = models / name
        if not made.exists():
            _with_net(made)
            _forked(lambda: _run(made, *words))
        return made

    def copied(name: str, *words: str, earlier: bool) -> Callable[[Path], None]:
        def prepare(folder: Path) -> None:
            shutil.copytree(begun(name, *words), folder)
            if earlier:
                (folder / "earlier").touch()
            else:
                shutil.rmtree(folder / "b")

        return prepare

    return {
        "a first run": Scenario(_with_net, _run, _check_run, _done_run),
        "a run with a warm cache": Scenario(
            copied("warm", earlier=False), _run, _check_run, _done_run
        ),
        "a run over an earlier bundle": Scenario(
            copied("warm", earlier=True), _run, _check_run, _done_run
        ),
        "finish": Scenario(
            copied("device", "backend.build=device", earlier=True),
            lambda folder: build_engines(folder / "b", 120.0),
            _check_finish,
            _done_finish,
        ),
        "pack and unpack": Scenario(copied("warm", earlier=True), _pack, _check_pack, _check_pack),
    }


def _forked(act: Callable[[], None]) -> None:
    """Do something in a process of its own, so that no engine's threads live here."""
    process = os.fork()
    if not process:
        try:
            act()
        finally:
            os._exit(0)
    os.waitpid(process, 0)
