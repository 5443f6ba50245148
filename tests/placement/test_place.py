"""A segment is divided, its parts are tried, and what fails goes to the next engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from backends import registry
from backends.contract import ConversionError, DisagreementError, Dynamic, Segment, TensorSpec
from backends.support import RefusedNode
from deploy.placement.part_trial import PlacementTask
from deploy.placement.place import Learnt, ask_engines, place_segment
from deploy.placement.planner import PlacementError
from deploy.placement.summary import placement_record
from deploy.recipe.schema import AutoPartitionRecipe, BackendRecipe
from tests.helpers.faulty_backends import PACKAGES_WITH_FAULTY
from tests.helpers.graphs import save

FIRST, LAST = BackendRecipe("openvino"), BackendRecipe("onnxruntime")
SETTINGS = AutoPartitionRecipe(
    min_nodes=1,
    min_macs_per_byte=0,
    reference=BackendRecipe("onnxruntime", {"optimize": "off"}),
)
OPERATORS = ("Sigmoid", "Tanh", "Relu", "Exp", "Abs", "Relu", "Neg", "Floor", "Ceil", "Sign")


@dataclass
class PretendedEngine:
    """Tries parts of a graph: some operators make every part with them fail.

    Attributes:
        wrong: operators that it computes wrongly.
        refused: operators that its converter names.
        crashes_on: operators that crash its converter together.
        tried: the operators of each part that was tried.
    """

    wrong: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    crashes_on: tuple[str, ...] = ()
    tried: list[tuple[str, ...]] = field(default_factory=list)

    def convert(self, segment, engine, values, out):
        """Fail as the converter of a real engine would."""
        assert engine.name == FIRST.name, "the last engine is not tried"
        nodes = onnx.load(segment.onnx).graph.node
        operators = tuple(node.op_type for node in nodes)
        self.tried.append(operators)
        for spec in (*segment.inputs, *segment.outputs):
            assert spec.accepts(values.tensors[spec.name].shape)
        named = [node for node in nodes if node.op_type in self.refused]
        if named:
            raise ConversionError(
                f"cannot convert segment '{segment.name}' to {engine.name}: no kernel",
                refused=tuple(
                    RefusedNode(node.name, node.op_type, "no kernel", node.output[0])
                    for node in named
                ),
            )
        if self.crashes_on and set(self.crashes_on) <= set(operators):
            raise ConversionError(
                f"cannot convert segment '{segment.name}' to {engine.name}: signal SIGSEGV"
            )
        for operator in self.wrong:
            if operator in operators:
                raise DisagreementError(
                    f"cannot convert segment '{segment.name}' to {engine.name}: it does not agree",
                    tensor=segment.outputs[0].name,
                )


@pytest.fixture
def chain_of_nodes(tmp_path) -> Segment:
    """Ten operators in a row."""
    nodes = [
        helper.make_node(operator, [f"t{n}" if n else "x"], [f"t{n + 1}"], name=f"n{n}")
        for n, operator in enumerate(OPERATORS)
    ]
    return save(tmp_path / "model.onnx", nodes, {"x": [2, 8]}, {"t10": [2, 8]}, {})


def place(segment, tmp_path, engine=None, learnt=None, **settings):
    """Divide a segment between an engine that may fail and one that takes everything."""
    task = PlacementTask(
        segment,
        [FIRST, LAST],
        replace(SETTINGS, **settings),
        lambda number: f"part{number}",
        {"x", "t10"},
        tmp_path / "placement",
    )
    known = learnt or Learnt(({}, {}), ((), ()))
    convert = engine.convert if engine else None
    return place_segment(task, known, values_of(segment), convert)


def values_of(segment):
    noise = np.random.default_rng(0)
    inputs = {
        spec.name: noise.standard_normal(spec.typical).astype(spec.dtype) for spec in segment.inputs
    }
    return {**inputs, **run(segment, inputs)}


def run(segment, values):
    session = ort.InferenceSession(str(segment.onnx))
    taken = {spec.name: values[spec.name] for spec in segment.inputs}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, taken), strict=True))


def operators_by_engine(placed):
    return [
        (region.engine, [placed.graph.nodes[node].operator for node in region.nodes])
        for region in placed.plan.regions
    ]


def test_what_works_is_tried_once(chain_of_nodes, tmp_path):
    engine = PretendedEngine()
    placed = place(chain_of_nodes, tmp_path, engine)
    assert placed.segments == (chain_of_nodes,)
    assert engine.tried == [OPERATORS] and placed.learnt.trials == 1


def test_a_node_that_is_computed_wrongly_is_found_by_halves(chain_of_nodes, tmp_path):
    engine = PretendedEngine(wrong=("Floor",))
    placed = place(chain_of_nodes, tmp_path, engine)
    assert operators_by_engine(placed) == [
        (0, list(OPERATORS[:7])),
        (1, ["Floor"]),
        (0, ["Ceil", "Sign"]),
    ]
    (border, _) = placed.plan.borders
    assert border.reason == "it does not agree"
    assert placed.learnt.trials <= 9 and placed.learnt.complete
    values = values_of(chain_of_nodes)
    chained = {"x": values["x"]}
    for segment in placed.segments:
        chained |= run(segment, chained)
    np.testing.assert_array_equal(chained["t10"], values["t10"])


def test_nodes_like_the_wrong_one_are_not_tried_one_by_one(chain_of_nodes, tmp_path):
    placed = place(chain_of_nodes, tmp_path, PretendedEngine(wrong=("Relu",)))
    reasons = placed.plan.reasons[0]
    assert reasons == {2: "it does not agree", 5: "like Relu 'n2': it does not agree"}


def test_nodes_that_the_converter_names_need_no_search(chain_of_nodes, tmp_path):
    engine = PretendedEngine(refused=("Relu", "Sign"))
    placed = place(chain_of_nodes, tmp_path, engine)
    assert [engine for engine, _ in operators_by_engine(placed)] == [0, 1, 0, 1, 0, 1]
    assert engine.tried[0] == OPERATORS and len(engine.tried) == 4


def test_a_node_that_fails_only_with_others_is_refused_alone(chain_of_nodes, tmp_path):
    engine = PretendedEngine(crashes_on=("Sigmoid", "Exp"))
    placed = place(chain_of_nodes, tmp_path, engine)
    assert placed.plan.reasons[0] == {3: "signal SIGSEGV, together with what it needs"}


def test_a_search_ends_at_its_bound_and_the_rest_goes_to_the_next_engine(chain_of_nodes, tmp_path):
    placed = place(chain_of_nodes, tmp_path, PretendedEngine(wrong=("Floor",)), tries=2)
    assert operators_by_engine(placed) == [(1, list(OPERATORS))]
    assert not placed.learnt.complete
    assert placed.plan.reasons[0][0] == "it does not agree; no smaller part of it shows where"


def test_what_was_learnt_is_enough_for_the_next_plan(chain_of_nodes, tmp_path):
    first = place(chain_of_nodes, tmp_path / "a", PretendedEngine(wrong=("Exp", "Neg")))
    again = place(chain_of_nodes, tmp_path / "b", learnt=first.learnt)
    assert again.plan == first.plan
    assert [s.inputs for s in again.segments] == [s.inputs for s in first.segments]


def test_a_segment_that_must_stay_whole_goes_to_an_engine_that_takes_all(chain_of_nodes, tmp_path):
    engine = PretendedEngine(wrong=("Floor",))
    task = PlacementTask(
        chain_of_nodes, [FIRST, LAST], SETTINGS, str, set(), tmp_path / "p", whole=True
    )
    known = Learnt(({}, {}), ((), ()))
    placed = place_segment(task, known, values_of(chain_of_nodes), engine.convert)
    assert operators_by_engine(placed) == [(1, list(OPERATORS))]


def test_a_node_that_nobody_takes_is_named_with_every_reason(chain_of_nodes, tmp_path):
    known = Learnt(({"t4": "no Exp here"}, {"t4": "none here either"}), ((), ()))
    with pytest.raises(PlacementError) as caught:
        place(chain_of_nodes, tmp_path, learnt=known)
    assert str(caught.value).startswith(
        "none of the engines openvino, onnxruntime takes 1 Exp:"
        "\n  Exp 'n3': openvino: no Exp here; onnxruntime: none here either"
    )


def test_a_part_of_a_chain_has_no_name_that_the_chain_has(chain_of_nodes, tmp_path):
    known = Learnt(({"t4": "no"}, {}), ((), ()))
    task = PlacementTask(
        chain_of_nodes, [FIRST, LAST], SETTINGS, lambda n: f"p{n}", {"t3", "t4"}, tmp_path / "p"
    )
    placed = place_segment(task, known, values_of(chain_of_nodes), None)
    assert dict(placed.tensors) == {"model.t3": "t3", "model.t4": "t4"}
    assert [spec.name for spec in placed.segments[1].inputs] == ["model.t3"]


def test_the_record_has_the_operators_with_what_a_trial_showed(chain_of_nodes, tmp_path):
    placed = place(chain_of_nodes, tmp_path, PretendedEngine(wrong=("Floor",)))
    record = placement_record([FIRST, LAST], [placed], 1.0, remembered=False)
    (refused,) = record.refused
    assert (refused.engine, refused.operator, refused.nodes, refused.learnt) == (
        *("openvino", "Floor", 1, True),
    )
    assert [region.segment for region in record.regions] == ["part0", "part1", "part2"]
    assert record.border_bytes == 2 * 64
    assert record.share("openvino") == 0.9


def test_an_output_that_no_input_changes_and_an_unused_input_stay(tmp_path):
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Exp", ["a"], ["y"]),
        helper.make_node("Identity", ["w"], ["same"]),
    ]
    shapes = {"x": [2, 8], "unused": [3]}, {"y": [2, 8], "same": [2]}
    segment = save(tmp_path / "model.onnx", nodes, *shapes, {"w": np.ones(2, np.float32)})
    known = Learnt(({"y": "no"}, {}), ((), ()))
    placed = place(segment, tmp_path, learnt=known)
    assert [spec.name for part in placed.segments for spec in part.inputs] == ["x", "unused", "a"]
    assert [spec.name for part in placed.segments for spec in part.outputs] == ["a", "same", "y"]


def test_files_stay_in_the_folder_of_the_placement(chain_of_nodes, tmp_path):
    place(chain_of_nodes, tmp_path / "run", PretendedEngine(wrong=("Floor",)))
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "run"}
    assert {path.name for path in Path(tmp_path / "run").iterdir()} == {"placement"}


def test_dynamic_axes_stay_as_they_were_given(tmp_path):
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    segment = save(tmp_path / "model.onnx", nodes, {"x": [2, 8]}, {"y": [2, 8]}, {})
    model = onnx.load(segment.onnx)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, segment.onnx)
    batch = Dynamic("batch", 1, 2, 8)
    dynamic = Segment(
        "model", segment.onnx, *((TensorSpec(name, "float32", (batch, 8)),) for name in "xy")
    )
    placed = place(dynamic, tmp_path, learnt=Learnt(({"b": "no"}, {}), ((), ())))
    specs = [spec for part in placed.segments for spec in (*part.inputs, *part.outputs)]
    assert [str(spec) for spec in specs] == ["float32[1..8, 8]"] * 6


def test_a_weight_that_both_sides_need_goes_to_both(tmp_path):
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Add", ["b", "w"], ["y"]),
    ]
    weights = {"w": np.arange(8, dtype=np.float32)}
    segment = save(tmp_path / "model.onnx", nodes, {"x": [2, 8]}, {"y": [2, 8]}, weights)
    placed = place(segment, tmp_path, learnt=Learnt(({"b": "no"}, {}), ((), ())))
    stored = [len(onnx.load(part.onnx).graph.initializer) for part in placed.segments]
    assert stored == [1, 0, 1]
    values = values_of(segment)
    chained = {"x": values["x"]}
    for part in placed.segments:
        chained |= run(part, chained)
    np.testing.assert_array_equal(chained["y"], values["y"])


@pytest.mark.parametrize(("refused", "engine"), [({}, 0), ({"y": "no"}, 1)])
def test_a_model_of_one_node_is_one_segment(refused, engine, tmp_path):
    nodes = [helper.make_node("Exp", ["x"], ["y"])]
    segment = save(tmp_path / "model.onnx", nodes, {"x": [2, 8]}, {"y": [2, 8]}, {})
    placed = place(segment, tmp_path, learnt=Learnt((refused, {}), ((), ())), min_nodes=4)
    assert placed.segments == (segment,)
    assert [region.engine for region in placed.plan.regions] == [engine]


def test_a_backend_that_cannot_be_asked_is_tried(chain_of_nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_packages", lambda: PACKAGES_WITH_FAULTY)
    task = PlacementTask(
        chain_of_nodes, [BackendRecipe("faulty"), LAST], SETTINGS, str, set(), tmp_path / "p"
    )
    learnt = ask_engines(task)
    assert learnt.refused[0] == {}
    assert learnt.notes == ("faulty cannot be asked what it takes: it is tried",)
