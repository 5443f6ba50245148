"""The seconds that a run prints are those of the clock, and a long stage says what it does."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

from rich.console import Console

from deploy.report import progress
from deploy.report.progress import Progress, Stage, process_start, stage_table


def printed_by(stages: list[Stage]) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(stage_table(stages))
    return file.getvalue()


def test_the_seconds_of_the_stages_add_up_to_those_since_the_start():
    begun = time.perf_counter() - 5
    shown = Progress(Console(file=io.StringIO()), begun)
    with shown.stage("start"):
        pass
    time.sleep(0.2)  # between two stages
    with shown.stage("model"):
        pass
    passed = time.perf_counter() - begun
    first, second = shown.stages
    assert first.seconds >= 5 and second.seconds >= 0.2
    assert abs(first.seconds + second.seconds - passed) < 0.1
    total = re.search(r"total +([\d.]+)", printed_by(shown.stages))
    assert total is not None and abs(float(total[1]) - passed) < 0.15


def test_the_start_of_the_process_is_before_its_first_line():
    code = (
        "import time; first = time.perf_counter(); time.sleep(0.3)\n"
        "from deploy.report.progress import process_start\n"
        "print(first - process_start())"
    )
    before = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) <= time.perf_counter() - before


def test_a_system_that_does_not_tell_when_a_process_began_counts_its_cpu_time(monkeypatch):
    monkeypatch.setattr(progress.Path, "read_text", lambda *_, **__: "no process")
    age = time.perf_counter() - process_start()
    assert abs(age - time.process_time()) < 0.5


def test_a_long_stage_in_a_pipe_says_once_what_it_does_without_control_characters(monkeypatch):
    monkeypatch.setattr(progress, "_LONG", 0.05)
    file = io.StringIO()
    shown = Progress(Console(file=file, width=100))
    with shown.stage("export", "tracing the model"):
        time.sleep(0.4)
    lines = file.getvalue().splitlines()
    assert lines[0] == "export ... tracing the model"
    assert len(lines) == 2 and lines[1].startswith("export ")
    assert all(line.isprintable() for line in lines)


def test_a_short_stage_in_a_pipe_is_one_line():
    file = io.StringIO()
    with Progress(Console(file=file, width=100)).stage("export", "tracing the model"):
        pass
    (line,) = file.getvalue().splitlines()
    assert line.startswith("export ") and "tracing" not in line


def test_a_terminal_shows_what_a_stage_does_and_since_when(monkeypatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system=None)
    shown = Progress(console, time.perf_counter() - 7)
    with shown.stage("export", "tracing"):
        time.sleep(0.2)
    assert "export ... tracing (7 s)" in file.getvalue()
