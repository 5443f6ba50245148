"""Chain = whole for automatic partitions: some of the suite's cases, and that it can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy.placement import split
from deploy.placement.plan import EngineAnswers, PlacementPlan, PlanLimits, Region
from deploy.placement.planner import plan_placement
from tests.cutsuite.cases import stored_cases
from tests.cutsuite.usable import usable
from tests.placementsuite import check, cli
from tests.placementsuite.cli import main
from tests.placementsuite.invariants import Checked, broken
from tests.placementsuite.masks import Mask, random_mask
from tests.placementsuite.own import own_cases
from tests.placementsuite.suite import examine
from tests.placementsuite.whole import Whole, read_whole

OWN = {case.name: case for case in own_cases()}
FEW = [
    *("random_nodes", "random_output", "quantised_branches", "residual_blocks"),
    *("separate_branches", "two_sequences", "optional_paths", "unused_results"),
    *("bodies_from_two_regions", "constant_outputs", "output_is_input", "dead_ends", "scan"),
    *("sequence_captured", "odd_tensor_names", "open_sizes", "external_weights"),
]
ENGINES = (EngineAnswers("a", {1: "a has no Softmax", 8: "a has no Softmax"}), EngineAnswers("b"))
LIMITS = PlanLimits(min_nodes=1, max_segments=0, min_macs_per_byte=0)


@pytest.fixture(scope="module")
def residual(tmp_path_factory) -> Whole:
    folder = tmp_path_factory.mktemp("residual")
    return read_whole(usable(OWN["residual_blocks"], folder), "written", folder)


@pytest.mark.parametrize("name", FEW)
def test_every_plan_of_an_own_graph_gives_the_whole(name):
    report = examine(OWN[name], 3)
    assert not report.left_out
    assert not report.failed
    assert report.equal + report.within + report.refused == report.plans > 0


def test_plans_of_a_model_of_the_onnx_package_give_the_whole():
    case = next(case for case in stored_cases() if case.name == "test_PixelShuffle")
    report = examine(case, 3)
    assert not report.left_out
    assert not report.failed
    assert report.divided > 0


def doctored(whole: Whole, change: Callable[[PlacementPlan], PlacementPlan]) -> list[str]:
    plan = plan_placement(whole.graph, ENGINES, LIMITS)
    mask = Mask(ENGINES, LIMITS, complete=True)
    assert not list(broken(Checked(whole.reading, whole.graph, mask, plan)))
    return list(broken(Checked(whole.reading, whole.graph, mask, change(plan))))


def regions(plan: PlacementPlan, change: Callable[[list[Region]], list[Region]]) -> PlacementPlan:
    return replace(plan, regions=tuple(change(list(plan.regions))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda all_: [*all_[:-1], replace(all_[-1], nodes=all_[-1].nodes[:-1])], "are missing"),
        (lambda all_: [*all_, all_[0]], "a node is in two regions"),
        (lambda all_: [*all_, Region(1, ())], "a region is empty"),
        (lambda all_: [all_[1], all_[0], *all_[2:]], "goes back from region"),
        (
            lambda all_: [Region(0, all_[0].nodes + all_[2].nodes), all_[1], *all_[3:]],
            "a path leaves region 0 and comes back",
        ),
        (
            lambda all_: [replace(all_[0], engine=1), replace(all_[1], engine=0), *all_[2:]],
            "refuse",
        ),
        (lambda all_: [replace(all_[0], engine=1), *all_[1:]], "follow each other"),
    ],
)
def test_a_plan_with_other_regions_is_caught(residual, change, message):
    faults = doctored(residual, lambda plan: regions(plan, change))
    assert any(message in fault for fault in faults), faults


def test_a_border_that_is_missing_or_without_a_reason_is_caught(residual):
    faults = doctored(residual, lambda plan: replace(plan, borders=plan.borders[1:]))
    assert "are missing or wrong" in faults[0]
    unexplained = doctored(
        residual,
        lambda plan: replace(plan, borders=tuple(replace(b, reason="") for b in plan.borders)),
    )
    assert "has no reason" in unexplained[0]


def test_a_border_rule_and_a_limit_that_are_broken_are_caught(residual):
    plan = plan_placement(residual.graph, ENGINES, LIMITS)
    crossing = plan.borders[0].tensor
    strict = (replace(ENGINES[0], borders={crossing: "not there"}), ENGINES[1])
    mask = Mask(strict, LIMITS, complete=True)
    checked = Checked(residual.reading, residual.graph, mask, plan)
    assert any("which cannot have it there" in fault for fault in broken(checked))
    limits = PlanLimits(min_nodes=4, max_segments=2, min_macs_per_byte=0)
    checked = Checked(residual.reading, residual.graph, Mask(ENGINES, limits, complete=True), plan)
    faults = list(broken(checked))
    assert "5 regions, and not 2" in faults
    assert "region 0 has 1 nodes, which a neighbour takes" in faults
    sequence = Checked(
        residual.reading,
        residual.graph,
        checked.mask,
        plan,
        {residual.graph.tensors[crossing].name: False},
    )
    assert any("cannot be handed over" in fault for fault in broken(sequence))


def test_segments_with_exchanged_tensors_and_other_nodes_are_caught(
    residual, monkeypatch, tmp_path
):
    mask = Mask(ENGINES, LIMITS, complete=True)
    assert check.check(residual, mask, tmp_path / "sound").verdict == "equal"
    cuts = split.region_cuts

    def exchanged(*args):
        first, second, *rest = cuts(*args)
        return [first, replace(second, name=second.name, end=first.end), *rest]

    monkeypatch.setattr(check, "region_cuts", exchanged)
    outcome = check.check(residual, mask, tmp_path / "faulty")
    assert outcome.verdict == "failed"


def test_a_mask_repeats_and_differs_by_its_seed(residual):
    masks = [random_mask(residual.graph, seed) for seed in ("a", "a", "b")]
    assert masks[0] == masks[1] != masks[2]


def test_the_command_exits_with_1_and_says_how_to_repeat_a_failure(monkeypatch, capsys):
    arguments = ["--model", "residual_blocks", "--plan", "written:1"]
    assert main("", arguments) == 0
    assert "| bit-equal, every invariant held | 1 of 1 |" in capsys.readouterr().out
    monkeypatch.setattr(check, "broken", lambda checked: ["nothing holds"])
    assert main("", arguments) == 1
    output = capsys.readouterr().out
    again = "scripts/check-placement --model residual_blocks --plan written:1\n"
    assert f"FAILED .venv/bin/python {again}    MismatchError: nothing holds" in output
    assert "| failed | 1 |" in output


def test_an_unknown_model_is_named_with_those_like_it(monkeypatch):
    monkeypatch.setattr(cli, "cases", lambda: OWN)
    with pytest.raises(SystemExit, match="no model is called 'residual_block'; there is residual"):
        main("", ["--model", "residual_block"])
