"""A process has its seconds; what it waited for a processor comes on top, within bounds."""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack

import pytest

from backends.process import child, deadline
from backends.process.child import Limits, run_limited
from backends.process.deadline import Deadline

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
def clock(monkeypatch):
    """What the clock shows, and for how long the process has waited for a processor."""
    shown = {"now": 0.0, "waited": 100.0}
    monkeypatch.setattr(time, "monotonic", lambda: shown["now"])
    monkeypatch.setattr(deadline, "_waited_for_processor", lambda process: shown["waited"])
    return shown


@pytest.mark.parametrize(
    ("passed", "waited", "left"),
    [
        pytest.param(0.0, 0.0, 8.0, id="it has its seconds"),
        pytest.param(7.0, 5.0, 1.0, id="and they are not over"),
        pytest.param(8.0, 0.0, 0.0, id="they are over where it never waited"),
        pytest.param(8.0, 6.0, 6.0, id="what it waited comes on top"),
        pytest.param(14.0, 6.0, 0.0, id="and is over, too"),
        pytest.param(79.0, 79.0, 1.0, id="up to nine times the seconds"),
        pytest.param(80.0, 80.0, 0.0, id="and no more than that"),
        pytest.param(8.0, 1e-9, 0.05, id="next to nothing is rounded up, so that asking ends"),
    ],
)
def test_a_process_has_its_seconds_and_what_it_has_waited_since_then(clock, passed, waited, left):
    ends = Deadline(8.0, process=1)
    clock["now"] += passed
    clock["waited"] += waited
    assert ends.left() == pytest.approx(left, abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells for how long")
def test_linux_tells_for_how_long_a_process_waited():
    core = {min(os.sched_getaffinity(0))}
    with ExitStack() as processes:
        for _ in range(2):
            busy = processes.enter_context(subprocess.Popen(BUSY))
            processes.callback(busy.kill)
            os.sched_setaffinity(busy.pid, core)
        ends = time.monotonic() + 30
        while deadline._waited_for_processor(busy.pid) < 0.1 and time.monotonic() < ends:
            time.sleep(0.05)
        assert deadline._waited_for_processor(busy.pid) >= 0.1


def test_a_process_that_is_gone_has_not_waited():
    assert deadline._waited_for_processor(2**30) == 0.0


def test_a_child_that_does_nothing_is_ended_and_one_that_had_to_wait_is_not(monkeypatch):
    sleeping = [sys.executable, "-c", "import time; time.sleep(1.5)"]
    with tempfile.TemporaryFile("w+") as output:
        assert run_limited(sleeping, Limits(0.2), output) == "no end within 0.2 s"
        waited = iter([0.0])
        monkeypatch.setattr(deadline, "_waited_for_processor", lambda process: next(waited, 60.0))
        monkeypatch.setattr(deadline, "_MOST_LONGER", 300)
        assert child.run_limited(sleeping, Limits(0.2), output) == ""
