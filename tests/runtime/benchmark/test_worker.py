"""A process that measures may print anything and end at any time; the parent gets an error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backends.contract import EngineError
from deploy.runtime.benchmark import worker
from deploy.runtime.benchmark.worker import RoundLength, Subject, start_worker

OPENED = '{"agrees": true, "manifest_sha256": "abc"}'


@contextmanager
def program(monkeypatch, code: str) -> Iterator[worker.BenchmarkWorker]:
    """A program in the place of the process."""
    monkeypatch.setattr(worker, "module_command", lambda *_: [sys.executable, "-c", code])
    with start_worker(Subject("b")) as started:
        yield started


def test_what_an_engine_prints_is_no_answer(monkeypatch):
    code = f"print('loading 100%'); print(3); print({OPENED!r}, flush=True); input()\n"
    code += 'print(\'warm\'); print(\'{"calls": [{"total": 0.25}], "cpu_seconds": 0.5}\')'
    with program(monkeypatch, code) as started:
        assert (started.agrees, started.manifest_sha256) == (True, "abc")
        measured = started.round(RoundLength())
        assert (measured.medians, measured.cpu_seconds) == ({"total": 250.0}, 0.5)


def test_a_process_that_ends_between_its_rounds_is_an_error(monkeypatch):
    with program(monkeypatch, f"print({OPENED!r})") as started:
        started._process.wait()
        with pytest.raises(EngineError, match="has ended by itself"):
            started.round(RoundLength())


def test_the_reason_of_a_process_is_that_of_the_error(monkeypatch):
    code = 'print(\'{"error": "no such engine"}\')'
    with pytest.raises(EngineError, match="no such engine"), program(monkeypatch, code):
        pass


def test_a_process_that_never_answers_is_ended(monkeypatch):
    monkeypatch.setattr(worker, "_LONGEST_ANSWER", 0.2)
    code = "import time; time.sleep(60)"
    with pytest.raises(EngineError, match="has ended by itself"), program(monkeypatch, code):
        pass


def test_a_process_ends_with_its_block(monkeypatch):
    with program(monkeypatch, f"print({OPENED!r}, flush=True); input()") as started:
        process: subprocess.Popen[str] = started._process
        assert process.poll() is None
    assert process.returncode is not None
