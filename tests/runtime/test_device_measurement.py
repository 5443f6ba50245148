"""A bundle is built, checked, timed and evaluated where it runs, and all of it is one record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.contract import DeployError, EngineError
from deploy.runtime import device_measurement
from deploy.runtime.benchmark import comparison
from deploy.runtime.benchmark.worker import Round, RoundLength, Subject
from deploy.runtime.bundle.engine_choice import Choice, forget_tuned, write_tuned
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST, read_manifest
from deploy.runtime.bundle.trust import is_own
from deploy.runtime.device_measurement import AS_TUNED, MeasuredWork, measure_bundle
from deploy.runtime.device_record import parse_record
from tests.conftest import other, step
from tests.helpers.commands import BACKENDS, output_of, run_here
from tests.helpers.two_segment_net import DEPLOY, write_net

ONE = step("one", "x", "y")
TIMED = MeasuredWork(rounds=3, seconds=0.3)


@dataclass
class Process:
    """Takes as long as its engine is told to; an engine may disagree."""

    milliseconds: float
    agrees: bool
    manifest_sha256: str

    def round(self, length: RoundLength) -> Round:
        return Round([{"one": 1e-3, "total": self.milliseconds / 1e3}] * 2, joules=0.5)


@pytest.fixture
def told(monkeypatch) -> dict[str, float]:
    """Milliseconds by engine; a negative number is an engine that disagrees, 0 one that fails."""
    milliseconds = {"": 10.0}

    @contextmanager
    def start(subject: Subject) -> Iterator[Process]:
        choice = subject.choices.get("one", Choice())
        took = milliseconds[choice.engine]
        if took == 0:
            raise EngineError("it crashed")
        yield Process(abs(took), took > 0, hash_file(Path(subject.bundle) / MANIFEST).sha256)

    monkeypatch.setattr(comparison, "start_worker", start)
    return milliseconds


def test_the_sample_is_compared_and_the_machine_described(make_bundle):
    record = measure_bundle(make_bundle(), MeasuredWork())
    assert (record.status, record.problem, record.latency) == ("passed", "", ())
    assert [(item.step, item.gap.tensor, item.gap.max_rel) for item in record.gaps] == [
        ("chain", "y", 0.0)
    ]
    assert record.machine.cores >= 1 and "numpy" in record.machine.tools


def test_what_disagrees_is_named_and_still_timed(make_bundle, told):
    record = measure_bundle(make_bundle([(ONE, 3.0)]), TIMED)
    assert record.status == "failed"
    assert record.problem.startswith("'y' of the chain: max_rel 0.5, cosine 1.000000; allowed is")
    assert record.used is not None and record.used.total.p50 == 10.0


def test_each_engine_is_timed_in_turns_and_the_one_in_use_is_first(make_bundle, told):
    told["scaler-fp16"] = 5.0
    record = measure_bundle(make_bundle(others=[(other(ONE), 2.0)]), TIMED)
    assert [(row.name, row.total.p50) for row in record.latency] == [
        ("scaler-fp32", 10.0),
        ("scaler-fp16", 5.0),
    ]
    assert [len(row.rounds) for row in record.latency] == [3, 3] and len(record.states) == 3
    assert record.standing == "fastest: scaler-fp16, first in 3 of 3 rounds"
    assert record.used is not None and record.used.joules == 0.25


def test_an_engine_that_disagrees_is_not_measured_and_that_is_said(make_bundle, told):
    told["scaler-fp16"] = -5.0
    record = measure_bundle(make_bundle(others=[(other(ONE), 9.0)]), TIMED)
    assert [row.name for row in record.latency] == ["scaler-fp32"]
    assert record.left_out == {"scaler-fp16": "beyond the tolerance"}
    assert record.status == "passed"


def test_what_tuning_has_kept_is_what_is_used(make_bundle, told):
    told["scaler-fp16"] = 5.0
    bundle = make_bundle(others=[(other(ONE), 2.0)])
    manifest = read_manifest(bundle)
    write_tuned(manifest, {"one": Choice("scaler-fp16")})
    try:
        record = measure_bundle(bundle, TIMED)
    finally:
        forget_tuned(manifest)
    assert [row.name for row in record.latency] == [AS_TUNED, "scaler-fp32", "scaler-fp16"]
    assert record.used is not None and record.used.total.p50 == 5.0


def test_a_bundle_that_fails_on_its_own_is_an_error(make_bundle, told):
    told[""] = 0
    with pytest.raises(EngineError, match="the bundle does not run on its own: it crashed"):
        measure_bundle(make_bundle(), TIMED)


def test_an_alternative_that_cannot_be_built_here_is_left_out(make_bundle, monkeypatch):
    def refuse(*_: object) -> bool:
        raise DeployError("'scaler' cannot build step 'one' here: no GPU")

    monkeypatch.setattr(device_measurement, "build_engines", refuse)
    late = other(ONE, unverified=True)
    record = measure_bundle(make_bundle(others=[(late, 2.0)]), MeasuredWork())
    assert record.status == "passed"
    assert record.left_out == {"scaler-fp16": "'scaler' cannot build step 'one' here: no GPU"}


def test_nothing_to_tune_is_said_and_no_error(make_bundle, capsys):
    record = measure_bundle(make_bundle(), MeasuredWork(tune=True))
    assert (record.status, record.tuned) == ("passed", "")
    assert "not tuned: bundle of 'm' has no engine with threads" in capsys.readouterr().out


@pytest.fixture(scope="module")
def deferred_bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    write_net(folder)
    words = [f"+backend={BACKENDS[0]}", "backend.build=device", "bundle=bundle"]
    output_of(*DEPLOY, *words, cwd=folder)
    return folder / "bundle"


def test_standard_output_has_the_record_alone_whatever_is_built(deferred_bundle, tmp_path):
    bundle = shutil.copytree(deferred_bundle, tmp_path / "bundle")
    ended = run_here("deploy.runtime", "measure", bundle, "--json", "-", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    record = parse_record(ended.stdout.encode(), "here")
    assert {item.step for item in record.gaps} == {"body", "head", "chain"}
    assert "building body ..." in ended.stderr and "checking the sample ..." in ended.stderr


def test_a_bundle_of_ones_own_from_another_machine_is_its_own_here(
    deferred_bundle, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = shutil.copytree(deferred_bundle, tmp_path / "bundle")
    assert not is_own(read_manifest(bundle))
    measure_bundle(bundle, MeasuredWork(own=True))
    assert is_own(read_manifest(bundle))  # also with the engines that were built


def test_the_exit_code_says_that_it_does_not_agree(deferred_bundle, tmp_path):
    bundle = shutil.copytree(deferred_bundle, tmp_path / "bundle")
    assert run_here("deploy.runtime", "measure", bundle, cwd=tmp_path).returncode == 0
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["verification"]["notes"]["tolerance.max_rel"] = 0.0
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    ended = run_here("deploy.runtime", "measure", bundle, cwd=tmp_path)
    assert ended.returncode == 1 and ended.stdout.startswith("BAD '")


@pytest.mark.parametrize(("option", "value"), [("--seconds", "0"), ("--timeout", "x")])
def test_a_number_that_is_none_is_refused(option, value, tmp_path):
    ended = run_here("deploy.runtime", "measure", "bundle", option, value, cwd=tmp_path)
    assert ended.returncode == 2
    assert f"argument {option}: expected a number above 0, got {value}" in ended.stderr
