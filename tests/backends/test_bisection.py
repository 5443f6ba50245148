"""The first wrong node of a graph is found, with few probes."""

from __future__ import annotations

import random
from functools import reduce
from math import log2
from operator import or_

import pytest

from backends.bisection import SearchResult, narrow_down


def ancestors(needs: list[list[int]]) -> list[int]:
    before: list[int] = []
    for node, needed in enumerate(needs):
        before.append(reduce(or_, (before[one] for one in needed), 1 << node))
    return before


class Oracle:
    """Knows the wrong node: what needs it is wrong too."""

    def __init__(self, wrong, before, silent=()):
        self.wrong, self.before, self.silent, self.probed = wrong, before, silent, []

    def __call__(self, node, left):
        self.probed.append(node)
        assert left >> node & 1, "a node was probed that is no candidate"
        return None if node in self.silent else not self.before[node] >> self.wrong & 1


def search(wrong, before, silent=()):
    oracle = Oracle(wrong, before, silent)
    last = len(before) - 1
    return narrow_down(last, before, [range(len(before))], oracle), oracle.probed


def line(length):
    return ancestors([[node - 1] if node else [] for node in range(length)])


@pytest.mark.parametrize("wrong", range(20))
def test_every_node_of_a_line_is_found_by_halving(wrong):
    found, probed = search(wrong, line(20))
    assert found == SearchResult(wrong, ())
    assert len(probed) <= 5


@pytest.mark.parametrize("seed", range(20))
def test_every_node_of_any_graph_is_found(seed):
    source = random.Random(seed)
    needs = [sorted(source.sample(range(n), min(n, source.randint(1, 3)))) for n in range(40)]
    before = ancestors([*needs, list(range(40))])
    for wrong in range(41):
        found, probed = search(wrong, before)
        assert found == SearchResult(wrong, ())
        assert len(probed) <= 4 * log2(41)


def test_nodes_that_cannot_be_probed_stay_beside_the_first_wrong_one():
    found, _ = search(5, line(20), silent=(4, 5, 6))
    assert found == SearchResult(7, (4, 5, 6))
    found, _ = search(3, line(20), silent=(4, 5, 6))
    assert found == SearchResult(3, ())


def test_it_gives_up_where_nothing_can_be_known():
    before = line(100)
    found, probed = search(50, before, silent=range(100))
    assert found == SearchResult(99, tuple(range(99)))
    assert len(probed) == 8


def test_a_later_tier_is_probed_only_where_an_earlier_has_no_candidate():
    before, oracle = line(9), Oracle(4, line(9))
    found = narrow_down(8, before, [range(0, 9, 2), range(1, 9, 2)], oracle)
    assert found == SearchResult(4, ())
    assert [node % 2 for node in oracle.probed] == sorted(node % 2 for node in oracle.probed)


def test_the_last_node_alone_needs_no_probe():
    assert search(0, [1]) == (SearchResult(0, ()), [])
