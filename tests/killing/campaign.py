"""A scenario struck at many points, one after the other."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from tests.killing.scenarios import Scenario
from tests.killing.strike import How, strike

_MOST = 5000


def campaign(scenario: Scenario, folder: Path, how: How, every: int) -> Counter[str]:
    """Strike at every ``every``-th point until a run goes by unstruck.

    Returns:
        How often each ending was seen.

    Raises:
        AssertionError: something half-written, or a next run that does not succeed.
    """
    endings: Counter[str] = Counter()
    for number in range(1, _MOST, every):
        place = folder / f"{how}-{number}"
        scenario.prepare(place)
        ending = strike(scenario.act, place, number, how)
        try:
            scenario.check(place)
            assert strike(scenario.act, place, 0, how) == "unstruck", "the next run"
            scenario.done(place)
        except Exception as error:
            raise AssertionError(f"{how} at write {number} ({ending}): {error}") from error
        shutil.rmtree(place)
        if ending == "unstruck":
            return endings
        endings[ending] += 1
    raise AssertionError(f"more than {_MOST} points")
