"""A process that measures may print anything and end at any time; the parent gets an error."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backends.contract import EngineError, MissingLibraryError
from deploy.runtime.benchmark import worker
from deploy.runtime.benchmark.worker import (
    RoundLength,
    Subject,
    start_worker,
    worker_process,
)

OPENED = '{"agrees": true, "manifest_sha256": "abc"}'


@contextmanager
def program(monkeypatch, code: str) -> Iterator[worker.BenchmarkWorker]:
    """A program in the place of the process."""
    monkeypatch.setattr(worker, "module_command", lambda *_: [sys.executable, "-c", code])
    with start_worker(Subject("b")) as started:
        yield started


def test_what_an_engine_prints_is_no_answer(monkeypatch):
    code = f"print('loading 100%'); print(3); print({OPENED!r}, flush=True); input(); input()\n"
    code += 'print(\'warm\'); print(\'{"calls": [{"total": 0.25}], "cpu_seconds": 0.5}\')'
    with program(monkeypatch, code) as started:
        assert (started.agrees, started.manifest_sha256) == (True, "abc")
        measured = started.round(RoundLength())
        assert (measured.medians, measured.cpu_seconds) == ({"total": 250.0}, 0.5)


def test_a_process_that_ends_between_its_rounds_is_an_error(monkeypatch):
    with program(monkeypatch, f"input(); print({OPENED!r})") as started:
        started._process.wait()
        with pytest.raises(EngineError, match="has ended by itself"):
            started.round(RoundLength())


def test_the_reason_of_a_process_is_that_of_the_error(monkeypatch):
    code = 'input(); print(\'{"error": "no such engine"}\')'
    with pytest.raises(EngineError, match="no such engine"), program(monkeypatch, code):
        pass


def test_a_process_that_never_answers_is_ended(monkeypatch):
    monkeypatch.setattr(worker, "_LONGEST_ANSWER", 0.2)
    code = "import time; time.sleep(60)"
    with pytest.raises(EngineError, match="has ended by itself"), program(monkeypatch, code):
        pass


def test_a_process_ends_with_its_block(monkeypatch):
    code = f"input(); print({OPENED!r}, flush=True); input()"
    with program(monkeypatch, code) as started:
        process: subprocess.Popen[str] = started._process
        assert process.poll() is None
    assert process.returncode is not None


def test_a_process_loads_its_libraries_before_it_knows_what_it_measures(monkeypatch):
    code = f"""print('loaded', flush=True); input(); print({OPENED!r}, flush=True)"""
    monkeypatch.setattr(worker, "module_command", lambda *words: [sys.executable, "-c", code])
    with worker_process(["some"], apart=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "loaded\n"
        with start_worker(Subject("b"), process) as started:
            assert started.manifest_sha256 == "abc"
        assert process.wait() == 0


def test_a_process_that_gets_nothing_to_measure_ends_with_its_parent():
    with worker_process(apart=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        assert (process.stdout.read(), process.wait()) == ("", 0)


def test_an_engine_that_is_not_installed_is_no_error_before_the_bundle_is_opened(monkeypatch):
    def missing(name: str) -> None:
        raise MissingLibraryError(f"{name} is not installed")

    monkeypatch.setattr(worker, "loader", missing)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    worker.main(["some"])
