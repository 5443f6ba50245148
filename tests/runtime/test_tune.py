"""``tune`` keeps what is faster beyond noise, and an opened bundle uses it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.contract import DeployError
from deploy.runtime import Pipeline, opening, tune
from deploy.runtime.reading import read_manifest
from deploy.runtime.tune import AS_IT_IS, MIXED, best_of_each, choose
from deploy.runtime.tuned import forget_tuned, read_tuned, write_tuned
from tests.commands import BACKENDS, done, refused

STEPS = ("backbone", "neck", "head")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "bundle"
    words = ["+model=yolov3", "+partition=by_stage", f"+backend={BACKENDS[0]}", "bench.runs=0"]
    done("deploy", *words, "verify.images=1", f"bundle={folder}", cwd=folder.parent)
    return folder


@pytest.fixture
def manifest(bundle):
    manifest = read_manifest(bundle)
    yield manifest
    forget_tuned(manifest)


def rounds(*totals):
    return [{"total": total} for total in totals]


def test_the_fastest_way_is_chosen_where_it_is_faster_in_most_rounds():
    found = {AS_IT_IS: rounds(10, 11, 10, 12), "2": rounds(8, 9, 8, 9), "4": rounds(9, 9, 9, 9)}
    assert choose(found) == "2"


def test_what_is_faster_only_by_noise_is_not_chosen():
    assert choose({AS_IT_IS: rounds(10, 9, 10, 9), "2": rounds(9, 10, 8, 10)}) == AS_IT_IS
    assert choose({AS_IT_IS: rounds(8, 8), "2": rounds(9, 9)}) == AS_IT_IS


def test_each_step_gets_the_threads_it_was_fastest_with():
    ways = {AS_IT_IS: {"a": 0, "b": 0}, "1": {"a": 1, "b": 1}, "4": {"a": 4, "b": 4}}
    found = {
        AS_IT_IS: [{"a": 3.0, "b": 3.0}],
        "1": [{"a": 9.0, "b": 1.0}],
        "4": [{"a": 2.0, "b": 5.0}],
    }
    assert best_of_each(ways, found) == {"a": 4, "b": 1}


def test_a_step_that_a_host_step_calls_is_judged_by_the_whole():
    ways = {AS_IT_IS: {"a": 0}, "1": {"a": 1}}
    assert best_of_each(ways, {AS_IT_IS: rounds(9), "1": rounds(8)}) == {"a": 1}


def stand_in(milliseconds, off=()):
    """Contenders that take what they are told, in milliseconds for one thread of a step."""

    class Told:
        def __init__(self, threads):
            self.agrees = tuple(threads.values()) not in off
            self._parts = {step: milliseconds[step][count] for step, count in threads.items()}

        def round(self):
            return {**self._parts, "total": sum(self._parts.values())}

    @contextmanager
    def contender(bundle, threads, key):
        yield Told(threads)

    return contender


MILLISECONDS = {
    "backbone": {0: 9.0, 1: 20.0, 2: 8.0},
    "neck": {0: 5.0, 1: 4.0, 2: 6.0},
    "head": {0: 2.0, 1: 1.0, 2: 2.0},
}


def test_engines_of_one_chain_may_get_different_numbers(bundle, manifest, monkeypatch, capsys):
    monkeypatch.setattr(tune, "contender", stand_in(MILLISECONDS))
    assert tune.tune(bundle, (1, 2), 4, forget=False)
    assert read_tuned(manifest) == {"backbone": 2, "neck": 1, "head": 1}
    said = capsys.readouterr().out
    assert f"{MIXED:<22}" in said and "threads: backbone 2, neck 1, head 1" in said


def test_a_way_beyond_the_tolerance_is_not_kept_however_fast(bundle, manifest, monkeypatch, capsys):
    monkeypatch.setattr(tune, "contender", stand_in(MILLISECONDS, off=[(1,) * 3, (2,) * 3]))
    assert tune.tune(bundle, (1, 2), 4, forget=False)
    assert read_tuned(manifest) == dict.fromkeys(STEPS, 0)
    assert "2 threads               beyond the tolerance" in capsys.readouterr().out


def test_a_bundle_beyond_its_tolerance_is_not_tuned(bundle, manifest, monkeypatch):
    monkeypatch.setattr(tune, "contender", stand_in(MILLISECONDS, off=[(0,) * 3]))
    with pytest.raises(DeployError, match="is beyond its tolerance on this machine"):
        tune.tune(bundle, (1,), 2, forget=False)
    assert read_tuned(manifest) == {}


def opened_with(bundle, monkeypatch, **asked):
    """The threads that each engine of an opened bundle is loaded with."""
    seen = {}
    plain = opening.loader

    def watched(backend):
        def load(artifact, root):
            seen[artifact.name] = artifact.options["threads"]
            return plain(backend)(artifact, root)

        return load

    monkeypatch.setattr(opening, "loader", watched)
    with Pipeline.open(bundle, **asked):
        pass
    monkeypatch.undo()
    return seen


def test_an_opened_bundle_uses_what_was_found_unless_it_is_told_otherwise(
    bundle, manifest, monkeypatch
):
    assert opened_with(bundle, monkeypatch) == dict.fromkeys(STEPS, 0)
    write_tuned(manifest, {"neck": 1, "head": 2})
    assert opened_with(bundle, monkeypatch) == {"backbone": 0, "neck": 1, "head": 2}
    assert opened_with(bundle, monkeypatch, threads=1) == dict.fromkeys(STEPS, 1)
    assert opened_with(bundle, monkeypatch, threads={"head": 1})["neck"] == 0
    forget_tuned(manifest)
    assert opened_with(bundle, monkeypatch) == dict.fromkeys(STEPS, 0)


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"neck": -1}', '{"neck": 5000}', '{"neck": true}', '{"tail": 1}', "{"]
)
def test_a_damaged_note_is_as_none(manifest, text):
    write_tuned(manifest, {"neck": 1}).write_text(text)
    assert read_tuned(manifest) == {}


def test_the_command_measures_keeps_and_forgets(bundle, manifest):
    said = done(
        "deploy.runtime", "tune", bundle, "--threads", "1", "--rounds", 2, cwd=bundle.parent
    )
    assert "1 thread " in said and "<- chosen" in said
    kept = said.rpartition("kept: ")[2].strip()
    assert json.loads(Path(kept).read_text()) == read_tuned(manifest) != {}
    done("deploy.runtime", "tune", bundle, "--forget", cwd=bundle.parent)
    assert read_tuned(manifest) == {}


def test_a_wrong_number_is_refused(bundle, tmp_path):
    said = refused("deploy.runtime", "tune", bundle, "--threads", "1,none", cwd=tmp_path)
    assert "expected a number from 1 up, got none" in said
