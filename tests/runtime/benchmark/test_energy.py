"""Joules are those of a meter that can be read; a machine without one has none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.runtime.benchmark.energy import input_rail, joules_of_samples, with_energy

PACKAGE = {"name": "package-0", "energy_uj": "1000000", "max_energy_range_uj": "262143328850"}


def zone(root: Path, place: str, **files: str) -> Path:
    folder = root / "class/powercap" / place
    folder.mkdir(parents=True)
    for file, text in {**PACKAGE, **files}.items():
        (folder / file).write_text(f"{text}\n")
    return folder


def rail(root: Path, **files: str) -> Path:
    folder = root / "class/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for file, text in {"name": "ina3221", **files}.items():
        (folder / file).write_text(f"{text}\n")
    return folder


def spent(root: Path, **microjoules: int) -> float | None:
    """The energy of some work in which counters rise to these values."""

    def work() -> str:
        for name, value in microjoules.items():
            path = root / "class/powercap" / name.replace("_", ":").replace("rapl", "intel-rapl")
            (path / "energy_uj").write_text(f"{value}\n")
        return "done"

    result, joules = with_energy(work, root)
    assert result == "done"
    return joules


def test_a_machine_without_a_meter_gives_nothing(tmp_path):
    assert with_energy(lambda: 5, tmp_path) == (5, None)


def test_the_packages_are_counted_and_neither_their_parts_nor_the_platform(tmp_path):
    zone(tmp_path, "intel-rapl:0")
    zone(tmp_path, "intel-rapl:1", name="package-1", energy_uj="5000000")
    zone(tmp_path, "intel-rapl:0:0", name="core")
    zone(tmp_path, "intel-rapl:2", name="psys")
    zone(tmp_path, "intel-rapl-mmio:0")  # the same package once more
    assert spent(tmp_path, rapl_0=3_500_000, rapl_1=5_250_000, rapl_2=9_000_000) == 2.75


def test_a_counter_that_begins_anew_is_counted_on(tmp_path):
    zone(tmp_path, "intel-rapl:0", energy_uj="262143000000")
    assert spent(tmp_path, rapl_0=1_000_000) == pytest.approx(1.32885)


def test_a_counter_that_only_root_may_read_gives_nothing(tmp_path):
    zone(tmp_path, "intel-rapl:0")
    (zone(tmp_path, "intel-rapl:1", name="package-1") / "energy_uj").unlink()
    assert spent(tmp_path, rapl_0=3_000_000) is None


def test_the_rail_of_a_whole_module_is_sampled_in_watts(tmp_path):
    rail(tmp_path, in2_label="VDD_CPU_GPU_CV", in2_input="5000", curr2_input="9000",
         in1_label="VDD_IN", in1_input="5000", curr1_input="1200")  # fmt: skip
    found = input_rail(tmp_path)
    assert found is not None and found.watts() == 6.0
    began = time.perf_counter()
    _, joules = with_energy(lambda: time.sleep(0.2), tmp_path)
    assert joules == pytest.approx(6.0 * (time.perf_counter() - began), rel=0.2)


def test_a_monitor_that_gives_power_is_believed(tmp_path):
    rail(tmp_path, in1_label="VDD_IN", power1_input="7250000", in1_input="1", curr1_input="1")
    found = input_rail(tmp_path)
    assert found is not None and found.watts() == 7.25


def test_a_rail_of_a_part_alone_gives_nothing(tmp_path):
    rail(tmp_path, in1_label="VDD_GPU_SOC", in1_input="5000", curr1_input="1200")
    assert input_rail(tmp_path) is None


def test_a_rail_that_ends_to_be_readable_gives_nothing(tmp_path):
    folder = rail(tmp_path, in1_label="VDD_IN", in1_input="5000", curr1_input="1200")

    def work() -> None:
        (folder / "curr1_input").unlink()
        time.sleep(0.05)

    assert with_energy(work, tmp_path) == (None, None)


def test_one_sample_has_no_duration():
    assert joules_of_samples([(1.0, 5.0)]) is None
