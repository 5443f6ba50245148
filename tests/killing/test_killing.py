"""A run that is killed, or finds no room, anywhere leaves nothing half; the next one succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.killing.campaign import campaign
from tests.killing.scenarios import scenarios

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
