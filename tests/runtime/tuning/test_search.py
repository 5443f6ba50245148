"""``tune`` keeps what is faster beyond noise, and an opened bundle uses it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backends.contract import DeployError, EngineError
from deploy.runtime import Pipeline
from deploy.runtime.benchmark.worker import Round
from deploy.runtime.bundle.engine_choice import (
    Choice,
    choices_from,
    forget_tuned,
    read_tuned,
    write_tuned,
)
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.execution import loading as opening
from deploy.runtime.tuning import search as tune
from deploy.runtime.tuning.candidates import AS_MADE
from deploy.runtime.tuning.search import MIXED, TuningResult, choose
from tests.helpers.commands import BACKENDS, error_of, output_of

STEPS = ("backbone", "neck", "head")


@pytest.fixture(scope="module")
def staged_bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune") / "bundle"
    words = ["+model=yolov3", "+partition=by_stage", f"+backend={BACKENDS[0]}", "bench.runs=0"]
    output_of("deploy", *words, "verify.images=1", f"bundle={folder}", cwd=folder.parent)
    return folder


@pytest.fixture
def manifest(staged_bundle):
    manifest = read_manifest(staged_bundle)
    yield manifest
    forget_tuned(manifest)


def rounds(*totals):
    return [{"total": total} for total in totals]


def test_the_fastest_way_is_chosen_where_it_is_faster_in_most_rounds():
    found = {AS_MADE: rounds(10, 11, 10, 12), "2": rounds(8, 9, 8, 9), "4": rounds(9, 9, 9, 9)}
    assert choose(TuningResult(found, {})) == "2"


def test_what_is_faster_only_by_noise_is_not_chosen():
    noise = {AS_MADE: rounds(10, 9, 10, 9), "2": rounds(9, 10, 8, 10)}
    slower = {AS_MADE: rounds(8, 8), "2": rounds(9, 9)}
    assert choose(TuningResult(noise, {})) == choose(TuningResult(slower, {})) == AS_MADE


def stand_in(milliseconds, off=(), border=0.0, broken=()):
    """Workers that take what they are told, in milliseconds for each choice of a step.

    ``border`` is what each change of the engine costs; choices ``off`` give something else, and
    with those that are ``broken`` nothing runs.
    """

    class Told:
        def __init__(self, choices):
            self.agrees = not any(choice in off for choice in choices.values())
            self._parts = {step: milliseconds[step][choice] for step, choice in choices.items()}
            engines = [choice.engine for choice in choices.values()]
            changes = sum(one != other for one, other in pairwise(engines))
            self._parts[next(iter(choices))] += border * changes

        def round(self, length):
            seconds = {step: took / 1e3 for step, took in self._parts.items()}
            return Round([{**seconds, "total": sum(seconds.values())}])

    @contextmanager
    def worker(subject):
        if any(choice in broken for choice in subject.choices.values()):
            raise EngineError("it crashed")
        yield Told(subject.choices)

    return worker


OWN = f"{BACKENDS[0]}-fp32"


def by_threads(**milliseconds):
    return {
        step: {Choice(OWN, count): took for count, took in each.items()}
        for step, each in milliseconds.items()
    }


MILLISECONDS = by_threads(
    backbone={0: 9.0, 1: 20.0, 2: 8.0}, neck={0: 5.0, 1: 4.0, 2: 6.0}, head={0: 2.0, 1: 1.0, 2: 2.0}
)


def threads_of(choices):
    return {step: choice.threads for step, choice in choices.items()}


def test_engines_of_one_chain_may_get_different_numbers(
    staged_bundle, manifest, monkeypatch, capsys
):
    monkeypatch.setattr(tune, "start_worker", stand_in(MILLISECONDS))
    assert tune.tune(staged_bundle, (1, 2), 4, forget=False)
    assert threads_of(read_tuned(manifest)) == {"backbone": 2, "neck": 1, "head": 1}
    said = capsys.readouterr().out
    assert (
        MIXED in said and f"chosen: backbone on {OWN}, threads 2; neck on {OWN}, threads 1" in said
    )


def test_a_way_beyond_the_tolerance_is_not_kept_however_fast(
    staged_bundle, manifest, monkeypatch, capsys
):
    off = [Choice(OWN, 1), Choice(OWN, 2)]
    monkeypatch.setattr(tune, "start_worker", stand_in(MILLISECONDS, off))
    assert tune.tune(staged_bundle, (1, 2), 4, forget=False)
    assert threads_of(read_tuned(manifest)) == dict.fromkeys(STEPS, 0)
    assert re.search(r"^2 threads +beyond the tolerance$", capsys.readouterr().out, re.MULTILINE)


def test_a_way_that_ends_its_process_is_left_out(staged_bundle, manifest, monkeypatch, capsys):
    monkeypatch.setattr(tune, "start_worker", stand_in(MILLISECONDS, broken=[Choice(OWN, 2)]))
    assert tune.tune(staged_bundle, (1, 2), 4, forget=False)
    assert threads_of(read_tuned(manifest)) == {"backbone": 0, "neck": 1, "head": 1}
    assert re.search(r"^2 threads +does not run here$", capsys.readouterr().out, re.MULTILINE)


def test_a_bundle_beyond_its_tolerance_is_not_tuned(staged_bundle, manifest, monkeypatch):
    monkeypatch.setattr(tune, "start_worker", stand_in(MILLISECONDS, [Choice(OWN, 0)]))
    with pytest.raises(DeployError, match="as it was made: beyond the tolerance"):
        tune.tune(staged_bundle, (1,), 2, forget=False)
    assert read_tuned(manifest) == {}


def with_others(manifest, *steps):
    """The manifest with a second engine, in fp16, for these steps."""
    others = tuple(replace(one, precision="fp16") for one in manifest.steps if one.name in steps)
    return replace(manifest, alternatives=others)


HALF = f"{BACKENDS[0]}-fp16"
HALVES = {
    "backbone": {Choice(OWN, 0): 9.0, Choice(OWN, 2): 8.0, Choice(HALF, 2): 6.0},
    "neck": {Choice(OWN, 0): 5.0, Choice(OWN, 2): 4.0, Choice(HALF, 2): 7.0},
    "head": {Choice(OWN, 0): 2.0, Choice(OWN, 2): 2.0, Choice(HALF, 2): 1.0},
}


def tuned_with(monkeypatch, bundle, milliseconds, border):
    """What is found for a bundle with a second engine for each step."""
    carrying = with_others(read_manifest(bundle), *STEPS)
    monkeypatch.setattr(tune, "read_manifest", lambda _: carrying)
    monkeypatch.setattr(tune, "start_worker", stand_in(milliseconds, border=border))
    assert tune.tune(bundle, (2,), 4, forget=False)
    try:
        return {step: choice.engine for step, choice in read_tuned(carrying).items()}
    finally:
        forget_tuned(carrying)


def test_each_step_gets_the_engine_it_is_fastest_on(staged_bundle, monkeypatch):
    found = tuned_with(monkeypatch, staged_bundle, HALVES, border=0.0)
    assert found == {"backbone": HALF, "neck": OWN, "head": HALF}


def test_a_border_that_costs_more_than_it_brings_is_not_crossed(staged_bundle, monkeypatch):
    found = tuned_with(monkeypatch, staged_bundle, HALVES, border=1.5)
    assert found == {"backbone": HALF, "neck": OWN, "head": OWN}
    found = tuned_with(monkeypatch, staged_bundle, HALVES, border=20.0)
    assert found == dict.fromkeys(STEPS, OWN)


def test_it_is_never_slower_than_the_best_engine_for_all(staged_bundle, monkeypatch):
    whole = {step: {**each, Choice(HALF, 2): 0.5} for step, each in HALVES.items()}
    assert tuned_with(monkeypatch, staged_bundle, whole, border=0.0) == dict.fromkeys(STEPS, HALF)


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
    staged_bundle, manifest, monkeypatch
):
    assert opened_with(staged_bundle, monkeypatch) == dict.fromkeys(STEPS, 0)
    write_tuned(manifest, {"neck": Choice(threads=1), "head": Choice(OWN, 2)})
    assert opened_with(staged_bundle, monkeypatch) == {"backbone": 0, "neck": 1, "head": 2}
    assert opened_with(staged_bundle, monkeypatch, threads=1) == dict.fromkeys(STEPS, 1)
    assert opened_with(staged_bundle, monkeypatch, choices={"head": Choice(threads=1)})["neck"] == 0
    forget_tuned(manifest)
    assert opened_with(staged_bundle, monkeypatch) == dict.fromkeys(STEPS, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"neck": -1}',
        '{"neck": {"threads": -1}}',
        '{"neck": {"threads": 5000}}',
        '{"neck": {"threads": true}}',
        '{"tail": {"threads": 1}}',
        '{"neck": {"engine": "z"}}',
        "{",
    ],
)
def test_a_damaged_note_is_as_none(manifest, text):
    write_tuned(manifest, {"neck": Choice(threads=1)}).write_text(text)
    assert read_tuned(manifest) == {}


def test_the_command_measures_keeps_and_forgets(staged_bundle, manifest):
    said = output_of(
        "deploy.runtime",
        "tune",
        staged_bundle,
        "--threads",
        "1",
        "--rounds",
        2,
        cwd=staged_bundle.parent,
    )
    assert "1 thread " in said and "<- chosen" in said
    kept = said.rpartition("kept: ")[2].strip()
    assert choices_from(Path(kept).read_text()) == read_tuned(manifest) != {}
    output_of("deploy.runtime", "tune", staged_bundle, "--forget", cwd=staged_bundle.parent)
    assert read_tuned(manifest) == {}


def test_a_wrong_number_is_refused(staged_bundle, tmp_path):
    said = error_of("deploy.runtime", "tune", staged_bundle, "--threads", "1,none", cwd=tmp_path)
    assert "expected a number from 1 up, got none" in said
