"""Output that cannot be written ends every program with one line, or without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backends import terminal
from tests.fuzzing import seed_bundles
from tests.helpers.commands import BACKENDS
from tests.output.hostile import hostile_onnx, program_environment

FULL = Path("/dev/full")
RUN = ["deploy.runtime", "run", "bundle", "bundle/sample/image.png"]
MAIN_JOB = ["model=onnx", "model.file=net.onnx", "model.name=net", "backend=onnxruntime"]
PROGRAMS = [
    ["deploy", "--version"],
    ["deploy", "bundle", "verify", "bundle"],
    ["deploy", "inspect", "net.onnx", "--json"],
    ["deploy.inspect", "--help"],
    ["deploy", *MAIN_JOB, "--cfg", "job"],
    ["deploy", "-m", *MAIN_JOB],
    ["deploy.runtime", "--help"],
    ["deploy.runtime", "check", "bundle"],
    [*RUN, "--json", "-"],
    *([f"backends.{name}", "--help"] for name in BACKENDS[:1]),  # they have one main
]


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory) -> Path:
    """A folder with a bundle and an ONNX file."""
    folder = tmp_path_factory.mktemp("output")
    seed_bundles.detector(folder / "bundle")
    hostile_onnx(folder / "net.onnx")
    return folder


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def ended(
    words: list[str], folder: Path, unbuffered: str = "", **streams: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        cwd=folder,
        env=program_environment(PYTHONUNBUFFERED=unbuffered),
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_a_program_whose_reader_has_ended_ends_without_a_word(detector_folder, words):
    with pipe_without_reader() as pipe:
        done = ended(words, detector_folder, stdout=pipe)
    assert done.returncode == 141
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning: ")] == []


def test_so_does_one_that_writes_every_piece_at_once(detector_folder):
    with pipe_without_reader() as pipe:
        done = ended(["deploy.runtime", "--help"], detector_folder, "1", stdout=pipe)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_a_program_whose_output_is_full_ends_with_one_error(detector_folder, words):
    with FULL.open("w") as full:
        done = ended(words, detector_folder, stdout=full.fileno())
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert lines == ["error: standard output cannot be written: No space left on device"]


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_standard_error_that_cannot_be_written_changes_no_exit_code(detector_folder):
    with FULL.open("w") as full:
        done = ended(["deploy.runtime", "check", "nothing"], detector_folder, stderr=full.fileno())
    assert done.returncode == 1
    with FULL.open("w") as full:
        done = ended([*RUN, "no.png"], detector_folder, stderr=full.fileno())
    assert (done.returncode, " found" in done.stdout) == (1, True)


def test_a_program_without_standard_streams_works(detector_folder):
    command = f"exec {sys.executable} -m deploy.runtime check bundle >&- 2>&-"
    done = subprocess.run(command, shell=True, cwd=detector_folder, env=program_environment())
    assert done.returncode == 0


def test_the_first_lines_are_all_that_a_reader_takes(detector_folder):
    command = f"set -o pipefail; {sys.executable} -m deploy inspect net.onnx --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=detector_folder, env=program_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("{", "", 0) or done.returncode == 141


def print_and_end() -> None:
    with suppress(SystemExit):  # as a thread does, with a warning of pytest's
        print("lost", flush=True)


def test_an_error_in_another_thread_ends_the_program_too(monkeypatch):
    with pipe_without_reader() as pipe, os.fdopen(os.dup(pipe), "w") as target:
        monkeypatch.setattr(sys, "stdout", target)
        with pytest.raises(SystemExit) as ending, terminal.program_output():
            thread = threading.Thread(target=print_and_end)
            thread.start()
            thread.join()
    assert ending.value.code == 141


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_a_line_of_a_long_stage_ends_no_program_with_a_traceback():
    program = """
import time
from backends.terminal import program_output
from deploy.report import progress
from deploy.report.console import TerminalConsole
progress._LONG = 0.05
with program_output(), progress.Progress(TerminalConsole()).stage("long", "working"):
    time.sleep(0.3)
"""
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full,
            stderr=subprocess.PIPE,
            env=program_environment(),
            text=True,
            check=False,
        )
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
    assert done.returncode == 1
