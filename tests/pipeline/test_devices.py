"""The bundle of a run is measured on its devices; one that fails ends no other, nor the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backends.error_metrics import ErrorMetrics
from deploy.devices.errors import DeviceError
from deploy.devices.work import DeviceWork
from deploy.pipeline import devices as stage
from deploy.pipeline.job import run_job
from deploy.pipeline.sweep import JobRecord
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import BenchRecipe, BundleRecipe, Recipe
from deploy.report.page import read_report
from deploy.runtime.benchmark.machine import Machine
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    StepMetrics,
    read_manifest,
    without_devices,
)
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.bundle.trust import is_own
from deploy.runtime.device_record import AlternativeLatency, DeviceRecord
from deploy.runtime.latency import PartLatency
from tests.helpers.faulty_segments import torch_recipe

LOCAL, PI = DeviceRecipe("local"), DeviceRecipe("pi", "pi@board")
TOTAL = PartLatency("total", 5.5, 6.5, 7.5, 5.6, 5.0)
RECORD = DeviceRecord(
    device="pi",
    at="2026-11-30T12:00:00+00:00",
    machine=Machine("Linux", "aarch64", "a board", 4, 1 << 32, "3.12", {"numpy": "2"}),
    status="passed",
    gaps=(StepMetrics("chain", ErrorMetrics("y", 1e-6, 2e-6, 1.0)),),
    latency=(AlternativeLatency("a-fp32", (TOTAL,), (5.0, 5.5, 6.0), 0.125),),
    states=(MachineState(1.0, is_capped=True),) * 3,
)
Answers = dict[str, DeviceRecord | Exception]


@pytest.fixture
def answers(monkeypatch) -> Answers:
    """What each device answers, by its name."""
    known: Answers = {"pi": RECORD, "local": replace(RECORD, device="local")}

    def measure(
        device: DeviceRecipe, bundle: Path, work: DeviceWork, tell: Callable[[str], None]
    ) -> DeviceRecord:
        tell(f"rounds {work.rounds}")
        answer = known[device.name]
        if isinstance(answer, Exception):
            raise answer
        return answer if work.rounds else replace(answer, latency=(), states=())

    monkeypatch.setattr(stage, "measure_on", measure)
    return known


def run(folder: Path, *devices: DeviceRecipe, runs: int = 1, **changes: object) -> JobRecord:
    recipe = replace(torch_recipe(), device=list(devices), bench=BenchRecipe(runs=runs))
    recipe = replace(recipe, **changes)
    return job(folder, recipe)


def job(folder: Path, recipe: Recipe, in_sweep: bool = False) -> JobRecord:
    return run_job("job", recipe, folder / "b", folder / "b.work", "command", None, in_sweep)


def test_what_a_device_measures_is_printed_reported_and_kept(tmp_path, answers, capsys):
    row = run(tmp_path, PI).row
    printed = capsys.readouterr().out
    assert "device pi" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("pi "))
    assert line.split() == [
        *("pi", "passed", "2.0e-06", "5.50", "5.00", "to", "6.00", "a-fp32"),
        *("slowed", "down", "by", "heat"),
    ]
    assert "on pi: energy: 0.125 J for each call" in printed
    assert (row.device, row.status, row.gap, row.p50_ms) == ("pi", "passed", 2e-6, 5.5)
    assert (row.slowed_down, row.joules) == ("slowed down by heat", 0.125)
    (entry,) = read_manifest(tmp_path / "b").devices
    assert (entry.name, entry.architecture, entry.status) == ("pi", "aarch64", "passed")
    assert entry.notes == {"p50_ms": 5.5} and entry.gaps == RECORD.gaps
    report = read_report(tmp_path / "b.work")
    assert report is not None
    assert report.devices[0].record == RECORD and report.devices[0].parity[0].within_tolerance
    assert report.manifest_sha256 == hash_file(tmp_path / "b" / MANIFEST).sha256


def test_the_bundle_stays_ones_own_and_signed(tmp_path, answers):
    key = Ed25519PrivateKey.generate()
    secret, public = tmp_path / "key.pem", tmp_path / "key.pub"
    secret.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    run(tmp_path, PI, runs=0, bundle=BundleRecipe(sign=str(secret)))
    manifest = read_signed(tmp_path / "b", public)
    assert manifest.devices and is_own(manifest) and is_own(without_devices(manifest))


def test_a_device_that_fails_is_one_error_and_the_others_are_measured(tmp_path, answers, capsys):
    answers["pi"] = DeviceError("device 'pi': nothing listens there")
    row = run(tmp_path, PI, LOCAL, runs=0).row
    printed = capsys.readouterr()
    assert printed.err == "error: device 'pi': nothing listens there\n"
    assert "not measured" in printed.out
    assert (row.status, row.device) == ("failed", "pi, local")
    assert [(one.name, one.status) for one in row.devices] == [
        ("pi", "failed"),
        ("local", "passed"),
    ]
    assert [one.name for one in read_manifest(tmp_path / "b").devices] == ["local"]


def test_what_disagrees_on_a_device_fails_the_run_by_name(tmp_path, answers, capsys):
    answers["pi"] = replace(RECORD, status="failed", problem="'y' of the chain: max_rel 0.5")
    row = run(tmp_path, PI, runs=0).row
    assert row.status == "failed"
    assert row.error == "device 'pi': 'y' of the chain: max_rel 0.5"
    assert f"error: {row.error}" in capsys.readouterr().err
    assert read_manifest(tmp_path / "b").verification.status == "passed"  # at the desk it agrees


def test_errors_of_another_bundle_are_refused(tmp_path, answers, capsys):
    answers["pi"] = replace(RECORD, gaps=(StepMetrics("x", RECORD.gaps[0].gap),))
    assert run(tmp_path, PI, runs=0).row.status == "failed"
    assert "device 'pi' has answered errors of another bundle: expected of" in (
        capsys.readouterr().err
    )


def test_a_bundle_that_the_desk_cannot_run_counts_as_verified_on_the_device(
    tmp_path, answers, capsys
):
    recipe = torch_recipe()
    backend = replace(recipe.backend, build="device")
    row = run(tmp_path, PI, backend=backend).row
    printed = capsys.readouterr().out
    assert row.status == "passed"
    assert "agreement   verified on pi: max_rel 2.0e-06 from PyTorch" in printed
    assert "not measured yet" not in printed and "(on each further device)" in printed
    assert read_manifest(tmp_path / "b").verification.status == "pending"


def test_without_an_answer_it_is_still_pending(tmp_path, answers, capsys):
    answers["pi"] = DeviceError("device 'pi': nothing listens there")
    backend = replace(torch_recipe().backend, build="device")
    assert run(tmp_path, PI, backend=backend).row.status == "failed"
    printed = capsys.readouterr().out
    assert "agreement   not measured yet: the device builds" in printed
    assert "build" in printed and "(on the device)" in printed


@pytest.mark.parametrize(("device", "rounds", "there"), [(PI, 0, 5.5), (LOCAL, 9, None)])
def test_in_a_sweep_this_machine_is_measured_in_turns_and_another_at_once(
    device, rounds, there, tmp_path, answers
):
    recipe = replace(torch_recipe(), device=[device], bench=BenchRecipe(runs=1))
    record = job(tmp_path, recipe, in_sweep=True)
    assert record.bench.rounds == rounds
    assert record.row.p50_ms == there
