"""The plot of a sweep holds what was measured of one artifact, and its table says the same."""

from __future__ import annotations

import pytest

from deploy.pipeline.sweep import JobRecord
from deploy.pipeline.sweep_latency import measure_sweep, rows_with_latency
from deploy.report.console import plain_console
from deploy.report.sweep import Job, JobRow, latency_lines, sweep_table
from deploy.report.trade_off import trade_off
from deploy.runtime.accuracy.evaluation import NotedScore
from tests.report.samples import comparison

STEADY, SLOW = (10.0, 10.1, 9.9, 10.0), (20.0, 20.2, 19.8, 20.0)
NOISY = (20.0, 25.0, 30.0, 35.0)
CHANGED = "its bundle was changed after the verification"


def row(name: str, **changes: object) -> JobRow:
    values = {"backend": "one", "status": "passed", "size": 5_000_000, "gap": 1e-6, **changes}
    return JobRow(f"a=1 b={name}", **values)


def measured(*rows: JobRow, rounds=(STEADY, SLOW)) -> list[JobRow]:
    left_out = CHANGED if len(rows) > len(rounds) else ""
    return rows_with_latency(rows, comparison(*rounds, left_out=left_out))


def jobs(rows: list[JobRow]) -> list[Job]:
    return [Job(made.job, made) for made in rows]


def test_rows_have_the_latency_of_their_own_bundle_and_where_they_stand():
    fast, slow, changed = measured(row("x"), row("y"), row("z"))
    assert (fast.p50_ms, fast.standing, fast.latency_flags) == (10.0, "fastest", ["fastest"])
    assert (slow.p50_ms, slow.standing, slow.latency_flags) == (20.0, "slower", [])
    assert (slow.p50_low_ms, slow.p50_high_ms, slow.noise) == (19.8, 20.2, False)
    assert (changed.p50_ms, changed.latency_problem) == (None, CHANGED)


def test_rounds_that_disagree_are_noise():
    _, noisy = measured(row("x"), row("y"), rounds=(STEADY, NOISY))
    assert noisy.noise and noisy.latency_flags == ["noise"]


def test_the_table_and_the_lines_below_it_say_what_may_be_believed(capsys):
    rows = measured(row("x"), row("y"), row("z"), rounds=(STEADY, NOISY))
    plain_console().print(sweep_table(rows))
    for line in latency_lines(comparison(STEADY, NOISY, left_out=CHANGED), ["x", "y", "z"]):
        print(line)
    printed = capsys.readouterr().out
    assert "9.90 to 10.10 fastest" in " ".join(printed.split())
    assert "20.00 to 35.00" in printed and "noise: the middle half" in printed
    assert "fastest: x, first in 4 of 4 rounds" in printed
    assert f"not measured: z: {CHANGED}" in printed
    assert "machine: other work 0.1 cores, load 0.7" in printed


def test_a_tie_names_all():
    lines = latency_lines(comparison(STEADY, STEADY), ["x", ""])
    assert lines[0].startswith("fastest: a tie of x and job 1, which differ by less than 5%")


def test_none_is_named_where_none_was_first_in_most_rounds():
    rounds = [10.0] * 8, [9.0] * 2 + [11.0] * 6, [11.0] * 6 + [9.0] * 2
    assert "fastest: none" in latency_lines(comparison(*map(tuple, rounds)), ["x", "y", "z"])[0]


def test_without_a_score_the_error_is_plotted_and_without_latency_nothing():
    plot = trade_off(jobs(measured(row("x"), row("y", gap=0.0), row("z"))))
    assert plot is not None
    assert (plot.accuracy, plot.higher_is_better) == ("max_rel", False)
    assert [(shown.number, shown.accuracy, shown.p50) for shown in plot.rows] == [
        (0, "1.0e-06", "10.00"),
        (1, "0.0e+00", "20.00"),
    ]
    assert "max_rel, logarithmic" in plot.svg
    assert trade_off(jobs([row("x"), JobRow("failed", error="e")])) is None


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_the_first_score_is_plotted_between_zero_and_one(score):
    scores = (NotedScore("map", "COCO mAP", score, 0.7),)
    plot = trade_off(jobs(measured(row("x", scores=scores), row("y"))))
    assert plot is not None
    assert (plot.accuracy, plot.higher_is_better) == ("COCO mAP", True)
    assert [shown.number for shown in plot.rows] == [0], "a job without a score has no place"


def test_a_sweep_of_which_no_job_wants_it_measures_nothing():
    assert measure_sweep([JobRecord(row("x"))], None) is None
