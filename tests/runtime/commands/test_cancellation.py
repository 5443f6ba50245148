"""A command that is sent a signal undoes what it has begun, and ends with the signal's code."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.processes import until

ROOT = Path(__file__).resolve().parents[3]
BEGIN = """
import sys, time
from pathlib import Path
from deploy.runtime.commands.cancellation import cancellable
with cancellable():
    try:
        Path(sys.argv[1]).touch()
        {body}
    finally:
        print("undone", flush=True)
"""
SWALLOWED = """
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
        time.sleep(60)
"""
OTHER_ERROR = """
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise ValueError("a library's own") from None
"""


FAILED = """
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
        sys.exit("error: a module that was imported in part")
"""


def struck(tmp_path: Path, body: str, number: int, before: str = "") -> tuple[int, str, str]:
    """The code, the output and the errors of a process after a signal."""
    code = before + BEGIN.replace("{body}", body)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "begun")], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until((tmp_path / "begun").exists)
    time.sleep(0.1)
    process.send_signal(number)
    said, errors = process.communicate(timeout=30)
    return process.returncode, said, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("body", ["time.sleep(60)", SWALLOWED, OTHER_ERROR])
def test_a_signal_ends_a_command_with_its_own_code(tmp_path, body, number):
    assert struck(tmp_path, body, number) == (128 + number, "undone\n", "cancelled\n")


def test_what_is_undone_is_not_interrupted_by_the_same_signal(tmp_path):
    body = """time.sleep(60)
    finally:
        time.sleep(2)
        print("slowly")
    try:
        pass"""
    code, said, _ = struck(tmp_path, body, signal.SIGTERM)
    assert (code, said) == (143, "slowly\n")


def test_an_error_that_the_interruption_led_to_has_the_code_of_the_signal(tmp_path):
    code, _, errors = struck(tmp_path, FAILED, signal.SIGTERM)
    assert (code, errors.splitlines()[-1]) == (143, "cancelled")


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    assert struck(tmp_path, "time.sleep(1)", signal.SIGHUP, before) == (0, "undone\n", "")
