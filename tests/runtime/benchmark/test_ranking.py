"""Only what most rounds say is said: who is fastest, who is equal, and what is noise."""

from __future__ import annotations

import pytest

from deploy.runtime.benchmark.ranking import is_faster, is_noise, rank, spread

STEADY = [10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 10.0, 10.1]


def scaled(factor: float) -> list[float]:
    return [factor * value for value in STEADY]


def test_the_first_in_every_round_is_the_fastest():
    ranking = rank({"a": scaled(1.3), "b": STEADY, "c": scaled(2)})
    assert ranking is not None
    assert (ranking.leaders, ranking.decided) == (("b",), True)
    assert ranking.first_in == {"b": 8}
    assert [ranking.standing(name) for name in "abc"] == ["slower", "fastest", "slower"]


@pytest.mark.parametrize(("factor", "standing"), [(1.049, "tied"), (1.051, "slower")])
def test_a_gap_below_five_percent_is_a_tie(factor, standing):
    ranking = rank({"a": STEADY, "b": scaled(factor)})
    assert ranking is not None
    assert ranking.standing("b") == standing
    assert ranking.standing("a") == ("tied" if standing == "tied" else "fastest")


def test_a_gap_within_the_rounds_of_one_of_them_is_a_tie():
    # b's median is 14 % above a's, and its own middle half is 30 % apart
    b = [10.5, 10.5, 10.5, 11.4, 11.4, 14.0, 14.0, 14.0]
    ranking = rank({"a": STEADY, "b": b})
    assert ranking is not None
    assert spread(b) > 0.14 and ranking.standing("b") == "tied"


def test_what_is_not_faster_in_three_of_four_rounds_is_not_the_fastest():
    # the median of a is 6 % below that of b, but it wins 5 of 8 rounds alone
    a = [9.4, 9.4, 9.4, 9.4, 9.4, 10.1, 10.1, 10.1]
    ranking = rank({"a": a, "b": [10.0] * 8})
    assert ranking is not None
    assert not is_faster(a, [10.0] * 8)
    assert [ranking.standing(name) for name in "ab"] == ["tied", "tied"]


def test_none_is_named_where_none_was_first_in_most_rounds():
    # a is faster than each other in 6 of 8 rounds, but the first of all in only half of them
    a, b, c = [10.0] * 8, [9.0] * 2 + [11.0] * 6, [11.0] * 6 + [9.0] * 2
    ranking = rank({"a": a, "b": b, "c": c})
    assert ranking is not None
    assert ranking.first_in == {"a": 4, "b": 2, "c": 2}
    assert [ranking.standing(name) for name in "abc"] == ["undecided", "slower", "slower"]
    more = rank({"a": [8.0, *a], "b": [11.0, *b], "c": [11.0, *c]})
    assert more is not None
    assert more.standing("a") == "fastest"


def test_three_of_the_same_are_tied_whichever_won():
    shuffled = {"a": STEADY, "b": STEADY[3:] + STEADY[:3], "c": STEADY[5:] + STEADY[:5]}
    ranking = rank(shuffled)
    assert ranking is not None
    assert set(ranking.leaders) == {"a", "b", "c"}
    assert {ranking.standing(name) for name in shuffled} == {"tied"}


def test_one_alone_and_rounds_that_were_never_taken_have_no_ranking():
    assert rank({}) is None
    assert rank({"a": STEADY}) is None
    assert rank({"a": [], "b": []}) is None


def test_the_spread_is_the_distance_of_the_quartiles_over_the_median():
    assert spread([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert spread([5.0]) == 0
    assert spread([0.0, 0.0]) == 0


def test_rounds_are_noise_where_their_middle_half_is_more_than_a_tenth_apart():
    assert not is_noise([9.5, 9.5, 10.0, 10.5, 10.5])  # exactly a tenth
    assert is_noise([9.4, 9.4, 10.0, 10.5, 10.5])
    assert not is_noise([10.0, 10.0, 10.0, 10.0, 40.0])  # one round that was disturbed
    assert not is_noise([40.0])


def test_one_is_faster_where_it_was_so_in_three_of_four_rounds():
    assert is_faster([1, 1, 1, 3], [2, 2, 2, 2])
    assert not is_faster([1, 1, 3, 3], [2, 2, 2, 2])
    assert not is_faster([2, 2, 2, 2], [2, 2, 2, 2])
