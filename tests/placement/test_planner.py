"""Regions for engines: what each gets, what is given to a neighbour, and the reasons."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from deploy.placement.plan import EngineAnswers, PlanLimits
from deploy.placement.planner import PlacementError, plan_placement
from tests.placement.graphs import FREE, chain, graph, placed, random_graph, shown, without

GENERAL = EngineAnswers("general")
RESIDUAL = """
a = Conv(x)
b = Det(a)
c = Add(b, a)
d = Conv(c)
e = Det(d)
y = Add(e, c)
"""


def test_an_engine_that_takes_everything_gets_the_whole_graph():
    of = chain("Conv", "Relu", "Conv")
    plan = plan_placement(of, [EngineAnswers("fast"), GENERAL], PlanLimits())
    assert shown(of, [EngineAnswers("fast"), GENERAL], plan) == ["fast: n0 n1 n2"]
    assert plan.borders == ()
    assert plan.reasons == ({}, {})


def test_one_engine_alone_gets_even_the_smallest_graph():
    of = chain("Conv")
    limits = PlanLimits(min_nodes=9, max_segments=1, min_macs_per_byte=1e9)
    assert placed(of, [GENERAL], limits) == ["general: n0"]


def test_a_graph_without_nodes_has_no_regions():
    plan = plan_placement(graph(""), [GENERAL], PlanLimits())
    assert plan.regions == plan.borders == ()


def test_a_refused_node_goes_to_the_next_engine_and_names_itself_at_both_borders():
    of = chain("Conv", "Conv", "Det", "Conv")
    engines = [without("fast", of, "Det"), GENERAL]
    plan = plan_placement(of, engines, FREE)
    assert shown(of, engines, plan) == ["fast: n0 n1", "general: n2", "fast: n3"]
    borders = [(b.source, b.target, b.node, b.reason) for b in plan.borders]
    assert borders == [(0, 1, 2, "fast has no Det"), (1, 2, 2, "fast has no Det")]


def test_a_residual_connection_does_not_add_regions():
    of = graph(RESIDUAL)
    assert placed(of, [without("fast", of, "Det"), GENERAL]) == [
        *("fast: a", "general: b", "fast: c d", "general: e", "fast: y"),
    ]


def test_regions_of_one_engine_that_others_keep_apart_name_a_node_between():
    of = graph(RESIDUAL)
    plan = plan_placement(of, [without("fast", of, "Det"), GENERAL], FREE)
    apart = {(b.source, b.target): (b.node, b.reason) for b in plan.borders}
    assert apart[0, 2] == (1, "fast has no Det")
    assert apart[2, 4] == (4, "fast has no Det")


def test_branches_that_do_not_depend_on_each_other_share_a_region():
    of = graph("""
        a = Conv(x)
        b = Det(x)
        c = Det(a)
        d = Conv(b)
        """)
    # all of one engine that can run comes first, then the other engine's
    assert placed(of, [without("fast", of, "Det"), GENERAL]) == [
        *("fast: a", "general: b c", "fast: d"),
    ]


def test_an_island_of_few_nodes_is_given_to_the_neighbour():
    of = chain("Det", "Conv", "Conv", "Det", "Conv", "Conv", "Conv")
    engines = [without("fast", of, "Det"), GENERAL]
    limits = PlanLimits(min_nodes=3, max_segments=0, min_macs_per_byte=0)
    plan = plan_placement(of, engines, limits)
    assert shown(of, engines, plan) == ["general: n0 n1 n2 n3", "fast: n4 n5 n6"]
    alone = "2 nodes of fast alone between others (min_nodes=3)"
    assert plan.reasons[0][1] == plan.reasons[0][2] == alone


def test_an_island_stays_where_no_neighbour_takes_it():
    of = chain("Conv", "Det", "Conv")
    engines = [without("fast", of, "Det"), without("other", of, "Conv")]
    limits = PlanLimits(min_nodes=2, max_segments=1, min_macs_per_byte=1e9)
    assert placed(of, engines, limits) == ["fast: n0", "other: n1", "fast: n2"]


def test_an_island_between_regions_of_one_engine_does_not_go_to_a_third():
    # to give it to 'last' would change its engine and no border
    of = chain("Conv", "Conv", "Det", "Conv", "Conv")
    engines = [without("first", of, "Det"), EngineAnswers("middle"), EngineAnswers("last")]
    limits = PlanLimits(min_nodes=2, max_segments=0, min_macs_per_byte=0)
    assert placed(of, engines, limits) == ["first: n0 n1", "middle: n2", "first: n3 n4"]


def test_an_island_goes_to_the_engine_beside_it_and_not_to_the_next_in_the_list():
    of = chain("Det", "Det", "Conv", "Det", "Det")
    engines = [
        without("first", of, "Det"),
        without("middle", of, "Det"),
        EngineAnswers("last"),
    ]
    limits = PlanLimits(min_nodes=2, max_segments=0, min_macs_per_byte=0)
    plan = plan_placement(of, engines, limits)
    assert shown(of, engines, plan) == ["last: n0 n1 n2 n3 n4"]
    assert plan.reasons[1][2] == "1 node of first alone between others (min_nodes=2)"


def test_a_region_whose_borders_cost_more_than_it_computes_is_given_to_the_neighbour():
    of = chain("Det", "Conv", "Conv", "Det", macs={"n1": 20, "n2": 10})
    engines = [without("fast", of, "Det"), GENERAL]
    limits = PlanLimits(min_nodes=1, max_segments=0, min_macs_per_byte=1.0)
    plan = plan_placement(of, engines, limits)
    assert shown(of, engines, plan) == ["general: n0 n1 n2 n3"]
    assert plan.reasons[0][1] == (
        "2 nodes of fast with 30 multiply-adds for 32 bytes over their borders "
        "(min_macs_per_byte=1)"
    )


def test_the_number_of_segments_is_bounded_and_the_regions_that_compute_most_stay():
    of = chain(
        *("Conv", "Det", "Conv", "Det", "Conv", "Det", "Conv"),
        macs={"n0": 50, "n2": 400, "n4": 10, "n6": 300},
    )
    engines = [without("fast", of, "Det"), GENERAL]
    limits = PlanLimits(min_nodes=1, max_segments=4, min_macs_per_byte=0)
    plan = plan_placement(of, engines, limits)
    kept = ["general: n0 n1", "fast: n2", "general: n3 n4 n5", "fast: n6"]
    assert shown(of, engines, plan) == kept
    assert plan.reasons[0][0] == "more than 4 segments (max_segments)"


def test_one_segment_is_the_engine_that_takes_everything():
    of = graph(RESIDUAL)
    limits = PlanLimits(min_nodes=1, max_segments=1, min_macs_per_byte=0)
    assert placed(of, [without("fast", of, "Det"), GENERAL], limits) == ["general: a b c d e y"]


def test_a_third_engine_that_touches_no_region_still_bounds_their_number():
    of = chain("Conv", "Det", "Conv", "Det")
    engines = [without("fast", of, "Det"), without("other", of, "Conv"), EngineAnswers("last")]
    limits = PlanLimits(min_nodes=1, max_segments=1, min_macs_per_byte=0)
    assert placed(of, engines, limits) == ["last: n0 n1 n2 n3"]


def test_nodes_that_fit_another_region_are_not_lost_with_the_small_one():
    # 'c' could run after 'd' too, though 'wide' would cross a border for it: the limit costs the
    # nodes before 'd' alone
    of = graph(
        """
        a = Det(x)
        wide = Conv(a)
        b = Conv(wide)
        c = Conv(wide)
        d = Det(b)
        e = Conv(d, c)
        """,
        macs={"wide": 10, "b": 10, "c": 500, "e": 500},
        sizes={"wide": 999},
    )
    engines = [without("fast", of, "Det"), GENERAL]
    assert placed(of, engines) == [
        *("general: a", "fast: wide b c", "general: d", "fast: e"),
    ]
    limits = PlanLimits(min_nodes=1, max_segments=2, min_macs_per_byte=0)
    assert placed(of, engines, limits) == ["general: a wide b d", "fast: c e"]


def test_a_tensor_that_an_engine_cannot_have_at_a_border_pushes_its_nodes_away():
    of = graph(
        """
        a = Conv(x)
        i = ArgMax(a)
        g = Gather(i)
        b = Det(g)
        """,
        dtypes={"i": "int64", "g": "int64"},
    )
    engines = [without("fast", of, "Det", borders="i g"), GENERAL]
    plan = plan_placement(of, engines, FREE)
    assert shown(of, engines, plan) == ["fast: a", "general: i g b"]
    assert plan.borders[0].reason == "fast takes no i at its borders"
    assert plan.reasons[0][2] == "fast takes no g at its borders"


def test_an_input_that_an_engine_cannot_have_pushes_its_readers_away():
    of = graph("a = Gather(tokens)\nb = Conv(a)", dtypes={"tokens": "int64"})
    engines = [without("fast", of, borders="tokens"), GENERAL]
    assert placed(of, engines) == ["general: a", "fast: b"]


def test_an_output_that_an_engine_cannot_give_pushes_its_node_away():
    of = graph("a = Conv(x)\nb = ArgMax(a)", dtypes={"b": "int64"})
    engines = [without("fast", of, borders="b"), GENERAL]
    assert placed(of, engines) == ["fast: a", "general: b"]


def test_a_node_that_one_engine_alone_takes_pulls_those_beside_it():
    # 'other' cannot have t at its border, and nobody else has Det
    of = graph("t = Conv(x)\ny = Det(t)")
    engines = [without("fast", of, "Det"), without("other", of, borders="t")]
    plan = plan_placement(of, engines, FREE)
    assert shown(of, engines, plan) == ["other: t y"]
    assert plan.reasons[0][0] == (
        "beside Det 'y', which other alone takes: other takes no t at its borders"
    )


def test_regions_of_one_engine_are_not_joined_by_a_tensor_that_may_be_at_no_border():
    of = graph("a = Conv(x)\nb = Det(a)\nc = Add(b, a)")
    engines = [without("fast", of, "Det", borders="a"), GENERAL]
    assert placed(of, engines) == ["general: a b c"]


def test_what_lies_between_nodes_of_a_group_stays_with_it():
    of = graph(
        """
        q = QuantizeLinear(x)
        a = Conv(q)
        d = DequantizeLinear(q, a)
        b = Conv(d)
        """,
        together=["q d"],
    )
    engines = [without("fast", of, "DequantizeLinear"), GENERAL]
    plan = plan_placement(of, engines, FREE)
    assert shown(of, engines, plan) == ["general: q a d", "fast: b"]
    assert plan.reasons[0][0] == "fast has no DequantizeLinear"


def test_a_tensor_that_no_segment_ends_with_keeps_its_nodes_in_one_region():
    of = graph(
        "a = Conv(x)\ns = SplitToSequence(a)\nt = SequenceAt(s)\nb = Conv(t)",
        dtypes={"s": "sequence"},
    )
    assert placed(of, [without("fast", of, "SequenceAt"), GENERAL]) == [
        *("fast: a", "general: s t", "fast: b"),
    ]


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        (
            "wide = Conv(x)\nm = Conv(wide)\nb = Det(x)\nc = Add(b, m)",
            ["general: b", "fast: wide m c"],
        ),
        (  # 'wide' crosses in any case, so that 'm' does not have to
            "wide = Conv(x)\nm = Conv(wide)\nb = Det(wide)\nc = Add(b, m)",
            ["fast: wide", "general: b", "fast: m c"],
        ),
        (  # 'm' is smaller than 'wide', which nothing else brings across
            "wide = Conv(x)\nm = Conv(wide)\ns = Conv(wide)\nb = Det(s)\nc = Add(b, m)",
            ["fast: wide m s", "general: b", "fast: c"],
        ),
    ],
)
def test_of_two_places_a_node_takes_that_with_fewer_bytes_over_borders(text, regions):
    of = graph(text, sizes={"wide": 999, "m": 99})
    assert placed(of, [without("fast", of, "Det"), GENERAL]) == regions


def test_three_engines_get_the_fewest_regions():
    # 'p' and 'q' are ready first, and wait for 'b': otherwise engine one had two regions
    of = graph("""
        s = R(x)
        p = P(s)
        q = P(s)
        a = Q(s)
        b = P(a)
        c = R(b)
        """)
    engines = [
        without("one", of, "Q", "R"),
        without("two", of, "P", "R"),
        without("three", of, "P", "Q"),
    ]
    assert placed(of, engines) == ["three: s", "two: a", "one: p q b", "three: c"]


def test_nodes_that_nobody_takes_are_listed_with_the_reason_of_each_engine():
    of = chain("Conv", "Det", "Conv", "Det")
    engines = [without("fast", of, "Det"), without("other", of, "Det", "Conv")]
    expected = (
        "none of the engines fast, other takes 2 Det:\n"
        "  Det 'n1': fast: fast has no Det; other: other has no Det\n"
        "  Det 'n3': fast: fast has no Det; other: other has no Det\n"
        "Add an engine that takes them to partition.prefer, such as the reference's."
    )
    with pytest.raises(PlacementError) as raised:
        plan_placement(of, engines, FREE)
    assert str(raised.value) == expected


def test_of_many_nodes_that_nobody_takes_the_first_are_listed():
    of = chain(*["Det"] * 11)
    with pytest.raises(PlacementError, match=r"takes 11 Det:(\n.*)+\n  and 3 more\n") as raised:
        plan_placement(of, [without("fast", of, "Det")], FREE)
    assert len(str(raised.value).splitlines()) == 11


def test_a_tensor_that_nobody_can_have_at_a_border_is_named_with_the_nodes():
    of = graph("t = Conv(x)\ny = Det(t)")
    engines = [without("fast", of, "Det", borders="t"), without("other", of, "Conv")]
    beside = "other: beside Conv 't', which fast alone takes: fast takes no t at its borders"
    with pytest.raises(
        PlacementError, match=re.escape(f"Det 'y': fast: fast has no Det; {beside}")
    ):
        plan_placement(of, engines, FREE)


def test_every_border_of_a_random_plan_has_a_reason_and_a_plan_repeats():
    for seed in range(40):
        of = random_graph(30, seed)
        engines = [without("a", of, "Op1", "Op2"), without("b", of, "Op2"), EngineAnswers("c")]
        limits = PlanLimits(min_nodes=1 + seed % 3, max_segments=seed % 7, min_macs_per_byte=0)
        plan = plan_placement(of, engines, limits)
        assert plan == plan_placement(of, engines, limits)
        assert all(border.reason for border in plan.borders)
        assert len(plan.regions) <= (limits.max_segments or len(plan.regions))


def test_a_tensor_that_very_many_nodes_read_does_not_make_planning_slow():
    # 'shape' can be at no border of the preferred engine: to look at all its readers again for
    # each that goes to the other engine took 1.6 s
    lines = ["shape = Shape(x)", *(f"n{n} = Op{n % 9}(x, shape)" for n in range(4_000))]
    of = graph("\n".join(lines))
    engines = [without("fast", of, "Op3", borders="shape"), GENERAL]
    start = time.process_time()
    assert len(placed(of, engines)) == 1
    assert time.process_time() - start < 0.6


def test_the_hash_seed_changes_no_plan():
    code = (
        "from tests.placement.graphs import *\n"
        "for seed in range(6):\n"
        "    of = random_graph(40, seed)\n"
        "    engines = [without('a', of, 'Op1'), without('b', of, 'Op2', borders='n7 n9'),"
        " EngineAnswers('c')]\n"
        "    print(plan_placement(of, engines, PlanLimits(2, 6, 0.1)))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
