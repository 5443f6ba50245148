"""A run that is cancelled stops what it started and leaves nothing; two do not share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from deploy.bundle import publish, restore_previous
from deploy.pipeline import run
from deploy.recipe.output_paths import RunPaths, WorkFile
from tests.helpers.commands import BACKENDS, error_of, files
from tests.helpers.processes import running, until

WORDS = ["deploy", "+model=yolov3", "+backend=ncnn", "bundle=b", "bench.runs=0"]
NEW = "backend.options.threads=7"  # no other test has put this net into the cache


def converters(folder: Path) -> list[int]:
    """The processes that work for a run in this folder."""
    return [*running(b"backends.", folder), *running(b"pnnx", folder)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_run_ends_its_converters_and_leaves_nothing(tmp_path, how):
    before = files(tmp_path)
    run = subprocess.Popen(
        [sys.executable, "-m", *WORDS, NEW], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # what a shell starts in the background ignores Ctrl-C, and so would this
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until(lambda: converters(tmp_path))
    run.send_signal(how)
    _, said = run.communicate(timeout=60)
    assert (run.returncode, said.splitlines()[-1]) == (128 + how, "cancelled")
    until(lambda: not converters(tmp_path))
    assert files(tmp_path) == before


def test_the_converters_of_a_killed_run_end_too(tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-m", *WORDS, NEW], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    until(lambda: converters(tmp_path))
    run.kill()
    run.wait()
    until(lambda: not converters(tmp_path))
    assert not (tmp_path / "b").exists()


def test_a_folder_that_another_run_works_in_is_refused(tmp_path):
    (tmp_path / "b.work").mkdir()
    with FileLock(tmp_path / "b.work" / ".lock"):
        words = [*WORDS[:2], f"+backend={BACKENDS[0]}", "bundle=b"]
        error = error_of(*words, cwd=tmp_path)
    assert "b.work' is in use by another run. Wait for it, or pass another bundle=" in error


def test_a_bundle_is_there_again_after_a_kill_between_its_two_renames(tmp_path):
    staging, bundle = tmp_path / "b.work" / "bundle", tmp_path / "b"
    staging.mkdir(parents=True)
    (staging / "new").touch()
    old = staging.with_name("bundle.old")
    old.mkdir()
    (old / "earlier").touch()
    restore_previous(staging, bundle)
    assert [path.name for path in bundle.iterdir()] == ["earlier"]
    restore_previous(staging, bundle)
    publish(staging, bundle)
    assert [path.name for path in bundle.iterdir()] == ["new"]
    assert not old.exists()


def test_the_earlier_bundle_is_there_after_ctrl_c_between_the_two_renames(tmp_path, monkeypatch):
    paths = RunPaths(tmp_path / "b", tmp_path / "b.work")
    paths.bundle.mkdir()
    (paths.bundle / "earlier").touch()

    def interrupted(recipe, paths, *_):
        paths.bundle.rename(paths.work / WorkFile.PREVIOUS_BUNDLE)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "checked_recipe", lambda recipe, paths: recipe)
    monkeypatch.setattr(run, "_run_locked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run_pipeline(None, paths, None, in_turns=True)
    assert [path.name for path in paths.bundle.iterdir()] == ["earlier"]
    assert not paths.work.exists()
