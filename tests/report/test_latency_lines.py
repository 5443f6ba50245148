"""A job's latency is printed with what there is to know before it is believed."""

from __future__ import annotations

from dataclasses import replace

from deploy.report.run_result import RunResult, _latency_lines
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.latency import PartLatency
from deploy.verify import Verdict

CALM = MachineState(1.0, load=0.1, other_cores=0.0, hot_events=0)


def part(name: str, p50: float) -> PartLatency:
    return PartLatency(name, p50, 1.2 * p50, 1.5 * p50, p50, 0.9 * p50)


def lines(bundle, post: float, rounds: tuple[float, ...], machine: MachineState = CALM) -> str:
    manifest = read_manifest(bundle)
    latency = Measurement((part("post", post), part("total", 10.0)), rounds, 20, (machine,))
    verdict = Verdict(manifest.verification, None)
    return _latency_lines(RunResult(bundle, manifest, verdict, "PyTorch", latency))


def test_a_steady_latency_on_an_idle_machine_is_one_line(make_bundle):
    said = lines(make_bundle(), 0.1, (9.9, 10.0, 10.1))
    assert said == "latency     p50 10.0 ms, p90 12.0 ms, min 9.00 ms"


def test_rounds_that_disagree_are_told(make_bundle):
    said = lines(make_bundle(), 0.1, (8.0, 10.0, 12.0))
    assert said.endswith("\n            noisy: p50 of rounds from 8.00 to 12.0 ms")


def test_a_busy_machine_is_told(make_bundle):
    said = lines(make_bundle(), 0.1, (10.0,) * 5, replace(CALM, other_cores=1.5, load=3.0))
    assert "the machine was busy: other work 1.5 cores, load 3.0, clock not readable" in said


def test_host_steps_that_matter_are_said_to_run_in_numpy(make_bundle):
    said = lines(make_bundle(), 0.6, (10.0,) * 5)
    assert "host steps ran in NumPy; a device with numba (the extra fast)" in said
