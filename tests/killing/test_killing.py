"""A run that is killed, or finds no room, anywhere leaves nothing half; the next one succeeds."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.killing import signal_campaign, started
from tests.killing.campaign import campaign
from tests.killing.scenarios import scenarios
from tests.killing.signal_campaign import strikes
from tests.killing.signal_scenarios import Command, Variant, commands

pytestmark = pytest.mark.slow

NAMES = tuple(scenarios(Path()))
EVERY = {"a first run": 60, "finish": 12, "pack and unpack": 3}  # of the others every 30th write


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    torch.set_num_threads(1)  # threads do not survive a fork
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("how", ["kill", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_half_is_left_and_the_next_run_succeeds(name, how, models, tmp_path):
    endings = campaign(scenarios(models)[name], tmp_path, how, EVERY.get(name, 30))
    assert endings["killed" if how == "kill" else "refused"] > 0


@pytest.mark.parametrize("name", ["build", "map"])
def test_a_signal_leaves_the_old_result_or_the_new_one_and_no_process(name, tmp_path):
    found = list(strikes(commands()[name], tmp_path, name, 4, seed=1))
    assert [strike.faults for strike in found] == [()] * 4


def _empty(folder: Path) -> None:
    (folder / "log").touch()
    (folder / "tmp").mkdir()


def test_a_damaged_result_and_a_process_that_is_left_are_seen(tmp_path, monkeypatch):
    def act(words: list[str]) -> None:
        subprocess.Popen(["sleep", "30"], start_new_session=True)
        Path("result").write_text("half")
        Path("result").write_text("whole") if words else time.sleep(20)

    def check(folder: Path) -> str:
        assert (folder / "result").read_text() != "half", "it is damaged"
        return "old"

    main = SimpleNamespace(main=lambda: act(sys.argv[1:]))
    monkeypatch.setattr(started, "import_module", lambda name: main)
    monkeypatch.setattr(signal_campaign, "load_libraries", lambda: None)
    monkeypatch.setattr(signal_campaign, "_length", lambda *_: {"forked": 2.0})
    monkeypatch.setattr(signal_campaign, "_GRACE", 1.0)
    monkeypatch.setattr(signal_campaign, "_AGAIN", 100)
    variant = Variant(_empty, "deploy", [])
    (strike,) = islice(strikes(Command([variant], check), tmp_path, "planted", 1, seed=5), 1)
    assert "processes were left" in strike.faults
    assert "AssertionError: it is damaged" in "".join(strike.faults)
