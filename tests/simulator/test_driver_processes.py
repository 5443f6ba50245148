"""The simulated driver in processes of its own: devices, forks and reports."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.simulator.build import build
from tests.simulator.driver_calls import (
    run_child,
)


def test_devices_are_what_the_environment_says():
    program = "print(drv.Device(0).name(), drv.Device.count())"
    assert run_child(program, SIM_CUDA_DEVICES="Tiny:7.5:1000").stdout == "Tiny 1\n"


def test_without_devices_cuda_does_not_start():
    said = run_child("", SIM_CUDA_DEVICES="").stderr
    assert "cuInit failed: no CUDA-capable device is detected" in said


def test_cuda_does_not_work_after_a_fork():
    program = "import os\nif os.fork():\n    os.wait()\nelse:\n    drv.Device.count()"
    assert "cuDeviceGetCount failed: initialization error" in run_child(program).stderr


def test_a_process_reports_what_it_leaves(tmp_path):
    report = tmp_path / "report.json"
    program = """
import numpy as np
context = drv.Device(0).retain_primary_context()
context.push()
drv.memcpy_htod(drv.mem_alloc(4), np.zeros(1, np.float32))
drv.Context.pop()
"""
    said = run_child(program, SIM_CUDA_REPORT=str(report))
    (line,) = map(json.loads, report.read_text().splitlines())
    assert line["count"]["HtoD"] == 1, said.stderr
    assert (line["live"]["memory"], line["live"]["context"]) == (0, 1)


def test_the_driver_is_compiled_once_by_whoever_is_first(tmp_path):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(build, [tmp_path] * 2)
    assert first == second
    assert list(tmp_path.iterdir()) == [first.parent]
    made = first.stat().st_ino
    assert build(tmp_path).stat().st_ino == made
