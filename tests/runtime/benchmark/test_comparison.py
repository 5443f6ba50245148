"""Bundles are measured in turns, and a latency is never that of another artifact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backends.contract import EngineError
from deploy.runtime.benchmark import comparison, measurement
from deploy.runtime.benchmark.comparison import CHANGED, Comparison, Contender, compare
from deploy.runtime.benchmark.measurement import measure_alone, measurement_of
from deploy.runtime.benchmark.worker import PAUSE, Round, RoundLength, Subject

Log = list[tuple[str, int]]


class Process:
    """Measures what it is given: a call of so many milliseconds; it may end after some rounds."""

    agrees, manifest_sha256 = True, "verified"

    def __init__(self, name: str, milliseconds: float, log: Log, lasts: int) -> None:
        self._name, self._seconds, self._log, self._left = name, milliseconds / 1e3, log, lasts

    def round(self, length: RoundLength) -> Round:
        if self._left == 0:
            raise EngineError("it crashed")
        self._left -= 1
        self._log.append((self._name, length.least))
        return Round([{"net": self._seconds / 2, "total": self._seconds}] * 2)


def stand_in(monkeypatch, log: Log, lasts: int = -1, **changed: str) -> None:
    """Processes in the place of real ones; a bundle's name is its milliseconds."""

    @contextmanager
    def start(subject: Subject, waiting: None = None) -> Iterator[Process]:
        if subject.bundle == "0":
            raise EngineError("no engine")
        process = Process(subject.bundle, float(subject.bundle), log, lasts)
        process.manifest_sha256 = changed.get(f"b{subject.bundle}", "verified")
        yield process

    monkeypatch.setattr(comparison, "start_worker", start)
    monkeypatch.setattr(measurement, "start_worker", start)


def compared(*milliseconds: str, rounds: int = 6, unranked: str = "") -> Comparison:
    contenders = {
        name: Contender(Subject(name), "verified", is_ranked=name != unranked)
        for name in milliseconds
    }
    return compare(contenders, rounds, seconds=3.0)


def test_rounds_take_turns_and_another_begins_each(monkeypatch):
    log: Log = []
    stand_in(monkeypatch, log)
    result = compared("10", "20", "30")
    assert [name for name, _ in log[:9]] == ["10", "20", "30"] * 2 + ["20", "30", "10"]
    assert len(log) == 3 * (3 + 6), "a set of processes three times, each with a warm-up"
    assert result.measurements["20"].rounds == (20.0,) * 6
    assert len(result.machine) == 6
    assert result.ranking is not None and result.ranking.leaders == ("10",)


def test_a_bundle_that_was_changed_after_its_verification_is_left_out(monkeypatch):
    stand_in(monkeypatch, [], b10="another")
    result = compared("10", "20")
    assert result.left_out == {"10": CHANGED}
    assert list(result.measurements) == ["20"] and result.ranking is None


def test_what_does_not_run_or_ends_is_left_out_with_its_reason(monkeypatch):
    log: Log = []
    stand_in(monkeypatch, log)
    assert compared("0", "20").left_out == {"0": "no engine"}
    stand_in(monkeypatch, log, lasts=2)
    ended = compared("10")
    assert ended.left_out == {"10": "it crashed"} and ended.measurements == {}


def test_what_is_beyond_its_tolerance_is_measured_and_never_the_fastest(monkeypatch):
    stand_in(monkeypatch, [])
    result = compared("10", "20", "30", unranked="10")
    assert result.measurements["10"].total.p50 == 10
    assert result.ranking is not None and result.ranking.leaders == ("20",)


def test_no_further_process_is_started_where_memory_is_short(monkeypatch):
    stand_in(monkeypatch, [])
    monkeypatch.setattr(comparison, "_is_memory_short", lambda: True)
    assert "too little memory" in compared("10").left_out["10"]


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("MemTotal: 1000 kB\nMemAvailable: 99 kB\n", True),
        ("MemTotal: 1000 kB\nMemAvailable: 101 kB\n", False),
        ("MemTotal: 1000 kB\n", False),
        ("", False),
    ],
)
def test_memory_is_short_below_a_tenth(text, short, tmp_path):
    (tmp_path / "meminfo").write_text(text)
    assert comparison._is_memory_short(tmp_path / "meminfo") is short
    assert not comparison._is_memory_short(tmp_path / "none")


def test_one_alone_is_measured_in_five_rounds_of_a_fifth_of_the_calls(monkeypatch):
    log: Log = []
    stand_in(monkeypatch, log)
    assert len(measure_alone(Subject("10"), 20).rounds) == 5
    assert log == [("10", 3), *[("10", 4)] * 5]
    with pytest.raises(EngineError, match="no engine"):
        measure_alone(Subject("0"), 20)
    stand_in(monkeypatch, log, lasts=3)
    with pytest.raises(EngineError, match="it crashed"):
        measure_alone(Subject("10"), 20)


def test_the_p50_is_the_median_of_the_rounds_and_the_rest_that_of_all_calls():
    def turn(*seconds: float) -> Round:
        return Round([{"total": value} for value in seconds])

    latency = measurement_of([turn(0.001, 0.002, 0.009), turn(0.004), turn(0.003, 0.003)])
    assert latency.rounds == pytest.approx((2, 4, 3))
    assert latency.total.p50 == pytest.approx(3)
    assert (latency.total.min, latency.calls) == (pytest.approx(1), 6)
    assert latency.total.mean == pytest.approx(22 / 6)
    assert latency.is_noise  # from 2 to 4, around 3


def test_a_round_waits_for_the_threads_of_another_process_and_not_for_its_own(monkeypatch):
    pauses: list[float] = []

    def measured(process: Process, length: RoundLength) -> Round:
        pauses.append(length.pause)
        return Round([{"total": 0.01}])

    stand_in(monkeypatch, [])
    monkeypatch.setattr(Process, "round", measured)
    measure_alone(Subject("10"), 20)
    assert pauses == [PAUSE, 0, 0, 0, 0, 0]
    pauses.clear()
    compared("10", "11", rounds=3)
    assert len(pauses) == 12 and set(pauses) == {PAUSE}
