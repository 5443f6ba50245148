"""Which ways to divide a chain are measured, and which of them is taken."""

from __future__ import annotations

import pytest
from onnx import helper

from backends.contract import ConversionError, Segment
from deploy.partition.segments import Partition
from deploy.pipeline.chain_plan import ChainPlan
from deploy.pipeline.measured_placement import candidates, chosen_name, fastest_chain
from deploy.pipeline.placement import PlacedChain
from deploy.placement.part_trial import PlacementTask
from deploy.placement.place import Learnt, place_segment
from deploy.placement.summary import placement_record
from deploy.recipe.schema import (
    AutoPartitionRecipe,
    BackendRecipe,
    ModelRecipe,
    PartitionRecipe,
    Recipe,
    RecipeError,
)
from deploy.runtime.benchmark.comparison import Comparison
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.ranking import rank
from deploy.runtime.latency import PartLatency
from tests.helpers.graphs import save

SETTINGS = AutoPartitionRecipe(1, 24, 0.0, reference=BackendRecipe("onnxruntime"))


@pytest.fixture
def row_of_nodes(tmp_path) -> Segment:
    """Eight operators in a row."""
    kinds = ("Sigmoid", "Tanh", "Relu", "Exp", "Abs", "Neg", "Floor", "Ceil")
    nodes = [
        helper.make_node(kind, [f"t{n}" if n else "x"], [f"t{n + 1}"])
        for n, kind in enumerate(kinds)
    ]
    return save(tmp_path / "model.onnx", nodes, {"x": [2, 8]}, {"t8": [2, 8]}, {})


def placed_chain(segment, folder, *refused):
    """The segment between as many engines as there are refusals, which have names of backends."""
    names = ("ncnn", "openvino", "onnxruntime")[-len(refused) :]
    engines = [BackendRecipe(name) for name in names]
    task = PlacementTask(segment, engines, SETTINGS, lambda n: f"part{n}", set(), folder / "p")
    known = Learnt(tuple(dict.fromkeys(names, "no") for names in refused), ((),) * len(refused))
    placed = place_segment(task, known, {}, None)
    partition = PartitionRecipe(auto=SETTINGS, prefer=engines)
    recipe = Recipe(ModelRecipe("net"), engines[0], partition=partition)
    record = placement_record(engines, [placed], 0.0, remembered=False)
    plan = ChainPlan(Partition((), {}, (), {}, {}, ()), (), {}, ())
    return PlacedChain(recipe, plan, (placed,), record)


def declined_nodes(candidate):
    return [sorted(of_engine) for of_engine in candidate.declined["model"]]


def test_the_half_of_the_regions_that_compute_most_stays(row_of_nodes, tmp_path):
    chain = placed_chain(row_of_nodes, tmp_path, ["t2", "t6"], [])
    assert [region.nodes for region in chain.placed[0].plan.regions] == [
        (0,), (1,), (2, 3, 4), (5,), (6, 7),
    ]  # fmt: skip
    half, alone = candidates(chain)
    assert half.name == "without the 2 smallest of 3"
    assert declined_nodes(half) == [["t1", "t7", "t8"], []]
    assert alone.name == "onnxruntime alone"
    assert declined_nodes(alone) == [[f"t{n}" for n in range(1, 9)], []]


def test_a_dropped_region_goes_to_the_engine_beside_it(row_of_nodes, tmp_path):
    chain = placed_chain(row_of_nodes, tmp_path, ["t4"], [], [])
    assert [region.engine for region in chain.placed[0].plan.regions] == [0, 1, 0]
    half = next(candidates(chain))
    assert declined_nodes(half)[1] == ["t4"]  # itself dropped, to the last engine
    assert declined_nodes(half)[2] == ["t1", "t2", "t3"]


def test_an_engine_that_refuses_a_node_is_not_measured_alone(row_of_nodes, tmp_path):
    chain = placed_chain(row_of_nodes, tmp_path, ["t4"], ["t1"], [])
    assert [one.name for one in candidates(chain)][-1] == "onnxruntime alone"
    assert "openvino alone" not in [one.name for one in candidates(chain)]


def comparison_of(**rounds):
    measured = {
        name: Measurement((PartLatency("total", *[row[0]] * 5),), tuple(row), len(row))
        for name, row in rounds.items()
    }
    return Comparison(measured, {}, rank(rounds), ())


def test_the_planned_chain_is_taken_where_nothing_is_clearly_faster():
    even = comparison_of(planned=[10, 11, 10, 11], other=[10, 10.5, 10.2, 10.9])
    assert chosen_name(even, ["planned", "other"]) == "planned"


def test_a_clearly_faster_chain_is_taken():
    slower = comparison_of(planned=[20, 21, 20, 21], other=[10, 10.5, 10.2, 10.9])
    assert chosen_name(slower, ["planned", "other"]) == "other"


def test_an_engine_that_is_built_on_the_device_cannot_be_measured(row_of_nodes, tmp_path):
    chain = placed_chain(row_of_nodes, tmp_path, ["t4"], [])
    chain.recipe.partition.prefer[0].build = "device"
    with pytest.raises(RecipeError, match="measure=true with openvino: expected engines that"):
        fastest_chain(chain, None, None, tmp_path, print)


def test_what_no_engine_can_do_is_left_out(row_of_nodes, tmp_path):
    chain = placed_chain(row_of_nodes, tmp_path, ["t4"], [])

    def again(declined, folder):
        raise ConversionError("it crashes after all")

    assert fastest_chain(chain, again, None, tmp_path, print) == chain
