"""What the tests of accuracy debugging share."""

from __future__ import annotations

import pytest

from tests.helpers.blame_bundles import chain_of, with_work


@pytest.fixture
def make_wrong_chain(make_bundle):
    """A bundle of a chain that should multiply by ``right``, and does by ``does``."""

    def made(does, right=(2.0, 3.0, 5.0), **fields):
        steps = chain_of(*does)
        return with_work(make_bundle(steps, **fields), steps, right)

    return made
