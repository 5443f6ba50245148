"""Temperatures and throttling are read from trees as systems have them, and else not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.runtime.benchmark.heat import Heat, heat_between, read_heat


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


ZONE, COOLER = "class/thermal/thermal_zone{}/temp", "class/thermal/cooling_device{}/{}"


def cooler(number: int, kind: str, state: int) -> dict[str, str]:
    return {COOLER.format(number, "type"): kind, COOLER.format(number, "cur_state"): str(state)}


def test_a_system_that_tells_nothing_is_not_called_cool(tmp_path):
    assert read_heat(tmp_path) == Heat(None, None, None, None)


def test_the_temperature_is_that_of_the_hottest_zone(tmp_path):
    write(tmp_path, **{ZONE.format(0): "48312", ZONE.format(1): "71500", ZONE.format(2): "none"})
    assert read_heat(tmp_path).celsius == 71.5


def test_events_are_those_of_all_cores(tmp_path):
    place = "devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"
    write(tmp_path, **{place.format(0, "core"): "3", place.format(1, "core"): "4"})
    write(tmp_path, **{place.format(0, "package"): "2"})
    heat = read_heat(tmp_path)
    assert (heat.events, heat.is_capped) == (9, None)
    assert heat_between(Heat(events=5), heat).events == 4


@pytest.mark.parametrize(
    ("kind", "state", "capped"),
    [
        ("thermal-cpufreq-0", 0, False),
        ("thermal-cpufreq-0", 2, True),
        ("cpufreq-cpu4", 1, True),
        ("thermal-devfreq-0", 3, True),
        ("Processor", 1, True),
        ("pwm-fan", 4, None),
        ("intel_powerclamp", 1, None),
    ],
)
def test_what_cools_by_a_lower_clock_holds_it_down_and_a_fan_does_not(
    kind, state, capped, tmp_path
):
    write(tmp_path, **cooler(0, kind, state))
    assert read_heat(tmp_path).is_capped is capped


@pytest.mark.parametrize(
    ("bits", "capped", "low_voltage"),
    [
        ("0", False, False),
        ("50000", False, False),  # both were so before
        ("50005", False, True),  # throttled because of the supply
        ("4", True, False),
        ("20002", True, False),
        ("80008", True, False),
    ],
)
@pytest.mark.parametrize("place", ["soc/soc:firmware", "soc@107c000000:firmware"])
def test_the_firmware_of_a_raspberry_pi_says_what_slows_it_down(
    place, bits, capped, low_voltage, tmp_path
):
    write(tmp_path, **{f"devices/platform/{place}/get_throttled": bits})
    heat = read_heat(tmp_path)
    assert (heat.is_capped, heat.low_voltage) == (capped, low_voltage)


@pytest.mark.parametrize(
    ("before", "now", "capped", "low_voltage"),
    [
        (0x0, 0x0, False, False),
        (0x50000, 0x50000, False, False),
        (0x0, 0x40000, True, False),  # between the two readings
        (0x0, 0x50000, False, True),
        (0x20002, 0x20000, True, False),  # at the start
    ],
)
def test_what_happened_between_two_readings_counts(before, now, capped, low_voltage, tmp_path):
    readings = []
    for bits in (before, now):
        write(tmp_path, **{"devices/platform/soc/soc:firmware/get_throttled": f"{bits:x}"})
        readings.append(read_heat(tmp_path))
    heat = heat_between(*readings)
    assert (heat.is_capped, heat.low_voltage) == (capped, low_voltage)
