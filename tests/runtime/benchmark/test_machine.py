"""What a machine is, is read where the system tells it."""

from __future__ import annotations

import platform

from deploy.runtime.benchmark.machine import governor, processor_name, this_machine
from tests.helpers.commands import BACKENDS


def test_a_processor_has_the_name_of_its_model(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert processor_name(tmp_path / "cpuinfo", tmp_path / "none") == "Some CPU @ 2 GHz"


def test_a_board_is_named_where_its_processor_is_not(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU part\t: 0xd0b\n")
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    named = processor_name(tmp_path / "cpuinfo", tmp_path / "model")
    assert named == "Raspberry Pi 5 Model B Rev 1.0"


def test_governors_are_told_once_each(tmp_path):
    for core, name in enumerate(["schedutil", "schedutil", "performance"]):
        path = tmp_path / f"cpu{core}/cpufreq/scaling_governor"
        path.parent.mkdir(parents=True)
        path.write_text(f"{name}\n")
    assert governor(tmp_path) == "schedutil, performance"
    assert governor(tmp_path / "none") == ""


def test_this_machine_has_cores_and_the_libraries_of_its_engines():
    machine = this_machine(BACKENDS[:1])
    assert machine.cores >= 1 and machine.memory > 0
    assert machine.architecture == platform.machine()
    assert {"numpy", BACKENDS[0]} <= set(machine.tools)
