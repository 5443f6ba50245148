"""What else the machine did is read where it can be, and where it cannot that is said."""

from __future__ import annotations

import pytest

from deploy.runtime.benchmark import machine_state
from deploy.runtime.benchmark.heat import Heat
from deploy.runtime.benchmark.machine_state import (
    MachineState,
    MachineWatch,
    describe_machine,
    is_machine_busy,
    machine_rows,
    slowed_down,
)


def test_the_clock_is_the_mean_of_all_cores(tmp_path):
    for core, kilohertz in enumerate([2_000_000, 3_000_000]):
        file = tmp_path / f"cpu{core}" / "cpufreq/scaling_cur_freq"
        file.parent.mkdir(parents=True)
        file.write_text(f"{kilohertz}\n")
    assert machine_state._megahertz(tmp_path) == 2500


def test_what_a_container_hides_is_not_readable(tmp_path):
    nothing = tmp_path / "nothing"
    assert machine_state._megahertz(tmp_path) is None
    assert machine_state._busy_seconds(nothing) is None
    assert machine_state._quota_seconds([(nothing, "throttled_usec", 1e-6)]) is None
    unknown = MachineState(1.0)
    assert describe_machine([unknown]) == (
        "other work not readable, load not readable, clock not readable, throttling not readable"
    )
    assert set(machine_rows([unknown])[0]) == {"not readable"}
    assert not is_machine_busy([unknown])


def test_guests_count_once_and_idle_cores_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_state.os, "sysconf", lambda _: 100)
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 2 3\n")
    assert machine_state._busy_seconds(tmp_path / "stat") == pytest.approx(1.71)


@pytest.mark.parametrize(
    ("key", "unit", "value"), [("throttled_usec", 1e-6, 2_500_000), ("throttled_time", 1e-9, 25e8)]
)
def test_the_quota_of_a_container_is_read_in_both_versions(key, unit, value, tmp_path):
    (tmp_path / "cpu.stat").write_text(f"nr_periods 4\n{key} {int(value)}\n")
    quotas = [(tmp_path / "none", "x", 1.0), (tmp_path / "cpu.stat", key, unit)]
    assert machine_state._quota_seconds(quotas) == pytest.approx(2.5)


COOL, WARM = Heat(celsius=48.0, events=5, is_capped=False), Heat(celsius=71.5, events=7)


def watched(monkeypatch, busy: tuple[float | None, float | None], cpu: float) -> MachineState:
    """The state after two seconds in which the cores were busy from one count to another."""
    readings = [
        machine_state._Counters(10.0, busy[0], 1.0, COOL, 0.5),
        machine_state._Counters(12.0, busy[1], 1.25, WARM, 1.5),
    ]
    monkeypatch.setattr(machine_state, "_counters", lambda: readings.pop(0))
    return MachineWatch().state(cpu)


def test_other_work_is_what_neither_the_measured_nor_this_process_did(monkeypatch):
    state = watched(monkeypatch, (100.0, 103.25), cpu=1.0)
    assert state.seconds == 2.0
    assert state.other_cores == pytest.approx(1.0)  # (3.25 - 0.25 - 1.0) / 2
    assert (state.hot_events, state.quota_seconds, state.celsius) == (2, 1.0, 71.5)
    assert state.is_capped is None


@pytest.mark.parametrize("busy", [(None, None), (100.0, 100.0)])
def test_counters_that_stand_still_do_not_mean_an_idle_machine(busy, monkeypatch):
    assert watched(monkeypatch, busy, cpu=1.0).other_cores is None


def test_throttling_is_told_with_its_cause():
    hot = MachineState(1.0, hot_events=2, quota_seconds=0.25)
    calm = MachineState(1.0, hot_events=0, quota_seconds=0.0)
    assert "slowed down 2 times by heat and stopped for 0.25 s by" in describe_machine([hot, calm])
    assert describe_machine([calm]).endswith("no throttling")
    assert describe_machine([MachineState(1.0, quota_seconds=0.0)]).endswith("heat not readable")


def test_what_is_measured_while_heat_holds_a_clock_down_is_marked():
    capped = MachineState(1.0, is_capped=True, celsius=84.6)
    assert slowed_down([MachineState(1.0, is_capped=False), capped]) == ("slowed down by heat",)
    assert describe_machine([capped]).endswith("85 \N{DEGREE SIGN}C, slowed down by heat")
    assert machine_rows([capped])[0][3] == "slowed down by heat, 85 \N{DEGREE SIGN}C"
    weak = MachineState(1.0, is_capped=False, low_voltage=True)
    assert slowed_down([weak]) == ("slowed down by a weak power supply",)
    assert machine_rows([weak])[0][3] == "not slowed down"


def test_half_a_core_of_other_work_is_a_busy_machine():
    assert is_machine_busy([MachineState(1.0, other_cores=0.3), MachineState(1.0, other_cores=0.7)])
    assert not is_machine_busy([MachineState(1.0, other_cores=0.4)])
