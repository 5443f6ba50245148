"""Brackets in names and errors are printed as they are, and a table has the reason of an error."""

from __future__ import annotations

import pytest

from deploy.report.console import TerminalConsole, plain_console
from deploy.report.progress import Progress, Stage, stage_table
from deploy.report.sweep import JobRow, error_reason, shared_error, sweep_table

NAME = "the cut at [m], [red]of[/red] [/x]"


def test_a_stage_is_shown_with_the_brackets_of_its_name(capsys):
    console = TerminalConsole(soft_wrap=True, force_terminal=True, width=100, color_system=None)
    with Progress(console).stage(NAME):
        pass
    printed = capsys.readouterr().out
    assert f"{NAME} ..." in printed and printed.count(NAME) == 2


def test_a_stage_table_keeps_brackets(capsys):
    plain_console().print(stage_table([Stage(NAME)]))
    assert NAME in capsys.readouterr().out


def test_a_sweep_table_keeps_brackets_in_overrides_and_errors(capsys):
    rows = [JobRow("a=[m] b=[bold]"), JobRow("a=[n]", backend="x[0]", error=f"wrong: {NAME}")]
    plain_console().print(sweep_table(rows))
    printed = capsys.readouterr().out
    for text in ("a=[m] b=[bold]", "a=[n]", "x[0]", f"wrong: {NAME}"):
        assert text in printed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("exit code 1", "exit code 1"),
        ("exit code 1\n    a\n    error: b [0]\n    c\n  Repeat: d", "b [0]"),
        ("exit code 1, within timeout=60\n    Traceback\n    MemoryError: 3", "MemoryError: 3"),
        ("signal SIGSEGV\n    error: x", "signal SIGSEGV"),
        ("exit code 0, but no artifact\n    error: x", "exit code 0, but no artifact"),
    ],
)
def test_the_error_of_a_table_is_the_reason_of_a_process_and_not_its_exit_code(error, reason):
    assert error_reason(f"cannot convert 'a': {error}") == f"cannot convert 'a': {reason}"


def test_an_error_is_shared_where_several_jobs_have_no_other():
    same = [JobRow("a", error="x\n1"), JobRow("b", error="x\n2")]
    assert shared_error(same) == "x"
    assert shared_error(same[:1]) == ""
    assert shared_error([*same, JobRow("c", status="passed")]) == ""
    assert shared_error([]) == ""
