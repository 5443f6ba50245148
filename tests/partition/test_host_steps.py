"""Host steps and segments fit together, or it is said before anything is converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from backends.contract import Artifact, Dynamic, Segment, TensorSpec
from deploy.export.export_failures import ExportError
from deploy.export.onnx_export import export
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.host_steps import host_step_points, resolve_host_steps
from deploy.partition.segments import partition
from deploy.pipeline.run import run_pipeline
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import (
    BackendRecipe,
    BenchRecipe,
    CastRecipe,
    HostRecipe,
    HostTensorRecipe,
    InputRecipe,
    ModelRecipe,
    PartitionRecipe,
    PrecisionRecipe,
    Recipe,
    RecipeError,
    SegmentRecipe,
)
from deploy.report.chain_diagram import chain_boundaries
from deploy.report.progress import Progress
from deploy.runtime.bundle.manifest import HostStep, Manifest, Verification
from deploy.runtime.execution import host_steps as registry
from deploy.runtime.pipeline import Pipeline
from tests.helpers.host_step_net import Choose, Net

AROUND = [
    SegmentRecipe("first", ["x"], ["scores:output"]),
    SegmentRecipe("last", ["choose:output.kept"], ["head:output"], ["y"]),
]
CHOSEN = HostRecipe(
    "chosen",
    "test.choose",
    inputs=["scores"],
    outputs={
        "kept": HostTensorRecipe(["n", 3], at="choose:output.kept"),
        "places": HostTensorRecipe(["n"], "int64", at="places"),
    },
    dynamic={"n": [0, 2, 4]},
)
ROWS, ANY = Dynamic("n", 0, 2, 4), Dynamic("u0", 0, 1, 2**31 - 1)
PLACES = ["x", "y", "choose:output.kept", "choose:output.places", "head:output.head"]


def spec(name: str, *shape, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def last(rows, out=None, **changes) -> Segment:
    """A segment that takes so many rows ``kept``, and gives as many."""
    inputs = (spec("kept", rows, 3, **changes),)
    return Segment("last", Path("last.onnx"), inputs, (spec("y", rows if out is None else out, 3),))


def wired(*segments: Segment, host=(CHOSEN,)) -> tuple[HostStep, ...]:
    return resolve_host_steps(host, segments, (spec("scores", 4, 3),))


@pytest.fixture(scope="module")
def exported_host_step_net(tmp_path_factory):
    return export(Net(), {"x": torch.ones(4, 3)}, tmp_path_factory.mktemp("net"))


def test_a_shape_that_is_not_given_is_the_one_that_a_segment_takes():
    plain = replace(CHOSEN, outputs={"kept": HostTensorRecipe()})
    (step,) = wired(last(ROWS), host=(plain,))
    assert str(step.outputs[0]) == "float32[0..4, 3]"


def test_without_a_shape_some_segment_has_to_take_it():
    plain = replace(CHOSEN, outputs={"kept": HostTensorRecipe(), "more": HostTensorRecipe()})
    with pytest.raises(RecipeError, match=r"'more', which .* expected a shape, for no segment"):
        wired(last(ROWS), host=(plain,))


def test_a_host_step_has_the_specs_of_what_it_takes_and_gives():
    (step,) = wired(last(ANY))
    assert [str(one) for one in step.inputs] == ["float32[4, 3]"]
    assert [str(one) for one in step.outputs] == ["float32[0..4, 3]", "int64[0..4]"]


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (
            last(Dynamic("n", 1, 2, 4)),
            r"axis 0 of 'kept', which host step 'chosen' gives: expected 1 to 4, as segment 'last' "
            r"takes it, got 0 to 4. Make them agree: dynamic: \{kept: \{0: \[0, 2, 4\]\}\} of the",
        ),
        (last(Dynamic("n", 0, 1, 3)), "expected 0 to 3, as segment 'last' takes it, got 0 to 4"),
        (
            last(Dynamic("n", 0, 2, 4, 2)),
            "expected 0 to 4, a multiple of 2, as segment 'last' takes it, got 0 to 4",
        ),
        (last(4), "expected 4, as segment 'last' takes it, got 0 to 4"),
        (
            last(ANY, out=Dynamic("u3", 0, 1, 9)),
            r"axis 0 of 'kept', which host step 'chosen' gives: expected 1 or more: how much "
            r"segment 'last' gives of none is not known \(y float32\[0..9, 3\]\), got 0 too. Let",
        ),
        (last(ANY, out=1), r"how much segment 'last' gives of none is not known \(y float32\[1, "),
        (last(ANY, dtype="int64"), r"expected int64\[.*, as segment 'last' takes it, got float32"),
        (
            Segment("last", Path("f"), (spec("kept", ANY),), (spec("y", ANY),)),
            r"expected float32\[0..\], as segment 'last' takes it, got float32\[0..4, 3",
        ),
    ],
)
def test_what_a_segment_could_not_take_at_run_time_is_refused(segment, message):
    with pytest.raises(RecipeError, match=message):
        wired(segment)


def test_a_segment_of_unknown_rank_takes_any():
    unknown = Segment("last", Path("f"), (TensorSpec("kept", "float32", None),), (spec("y", 1),))
    assert wired(unknown)


def test_the_sizes_that_a_called_segment_takes_are_up_to_its_host_step():
    caller = HostRecipe("caller", "test", outputs={"z": HostTensorRecipe([1])}, calls=["last"])
    assert wired(last(1), host=(CHOSEN, caller))


def test_a_tensor_that_nobody_gives_is_refused_with_those_there_are():
    lost = replace(CHOSEN, inputs=["scoers"])
    with pytest.raises(RecipeError, match=r"'chosen' takes 'scoers': expected one of scores, kept"):
        wired(last(ANY), host=(lost,))


def test_a_tensor_that_a_segment_gives_too_is_refused():
    twice = replace(CHOSEN, outputs={**CHOSEN.outputs, "y": HostTensorRecipe([1])})
    message = (
        r"tensor 'y' is produced twice: .*got segment 'last' and host step 'chosen'\. Rename it"
    )
    with pytest.raises(RecipeError, match=message):
        wired(last(ANY), host=(twice,))


def compared_at(point: str) -> list[HostRecipe]:
    return [replace(CHOSEN, outputs={"kept": HostTensorRecipe([1], at=point)})]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "choose:output",
            "'kept' of host step 'chosen' at 'choose:output': expected one of choose:output.kept, "
            "choose:output.places, got a point with 2 tensors",
        ),
        ("choose:output.lost", "one of choose:output.kept, choose:output.places, got no tensor of"),
        ("choose:input", "one of choose:output.kept, choose:output.places, got no tensor of"),
    ],
)
def test_a_point_that_is_not_one_tensor_of_its_mark_is_refused_with_those(point, message):
    with pytest.raises(RecipeError, match=message):
        host_step_points(compared_at(point), PLACES)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("chose:output.kept", "expected one of choose:output.kept, .*got no tensor of the model"),
        ("nothing", "expected one of x, y, choose:output.kept.*got no tensor of the model"),
    ],
)
def test_where_the_model_alone_may_come_by_is_refused_of_a_file_only(point, message):
    assert host_step_points(compared_at(point), PLACES) == {"kept": point}
    with pytest.raises(RecipeError, match=message):
        host_step_points(compared_at(point), PLACES, no_others=True)


def test_a_point_with_one_tensor_is_that_tensor_and_a_name_that_of_an_input_or_output():
    tensors = {"a": HostTensorRecipe([1], at="head:output"), "b": HostTensorRecipe([1], at="y")}
    asked = [replace(CHOSEN, outputs={**tensors, "c": HostTensorRecipe([1])})]
    assert host_step_points(asked, PLACES) == {"a": "head:output.head", "b": "y"}


@pytest.mark.parametrize(
    ("cuts", "across", "segment"),
    [
        ([], [], "model"),
        ([Cut("late", ["scores:output"], ["head:output"])], [], "late"),
        ([], [["scores:output"]], "part1"),
    ],
)
def test_a_segment_with_what_is_done_on_the_host_is_refused(
    exported_host_step_net, tmp_path, cuts, across, segment
):
    message = (
        rf"segment '{segment}': expected operators that an engine can run, got host steps: "
        r"Choose\. Cut before and behind them, .* partition\.host"
    )
    with pytest.raises(PartitionError, match=message):
        partition(exported_host_step_net, cuts, tmp_path, across=across)
    assert not list(tmp_path.iterdir())


def test_segments_around_it_are_cut_and_know_how_many_rows_they_take_and_give(
    exported_host_step_net, tmp_path
):
    cuts = [Cut(one.name, one.start, one.end, one.outputs) for one in AROUND]
    cutting = partition(exported_host_step_net, cuts, tmp_path)
    (taken,), (given,) = cutting.segments[1].inputs, cutting.segments[1].outputs
    assert taken.dims[0] == given.dims[0]
    assert {"x", "y", "scores:output.scores", "choose:output.kept"} < set(cutting.reference_points)


def run(folder: Path, host: HostRecipe, precision: str = "fp32") -> Manifest:
    recipe = Recipe(
        ModelRecipe("net", "tests.helpers.host_step_net:Net", inputs={"x": InputRecipe([4, 3])}),
        BackendRecipe("onnxruntime", precision=precision, cast=CastRecipe(io=True)),
        partition=PartitionRecipe(AROUND, host=[host]),
        precision=PrecisionRecipe(BackendRecipe("onnxruntime")),
        bench=BenchRecipe(runs=0),
    )
    places = RunPaths(folder / "bundle", folder / "bundle.work")
    return run_pipeline(recipe, places, Progress(Console(quiet=True))).manifest


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_shipped", lambda: {"test.choose": Choose})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_chain_with_a_host_step_computes_of_no_rows_too_in_any_precision(
    tmp_path, registered, precision
):
    manifest = run(tmp_path, CHOSEN, precision)
    assert manifest.verification.status == "passed"
    dtype = "float32" if precision == "fp32" else "float16"
    assert {step.inputs[0].dtype for step in manifest.steps} == {dtype}
    with Pipeline.open(tmp_path / "bundle") as pipeline:
        for rows in ([], [1, 3]):
            x = np.full((4, 3), -1, dtype)
            x[rows] = 1
            found = pipeline.chain({"x": x})
            assert found["places"].tolist() == rows
            np.testing.assert_array_equal(found["y"], np.full((len(rows), 3), 3, dtype))


def test_a_point_that_the_model_does_not_reach_is_told_with_those_like_it(tmp_path, registered):
    (wrong,) = compared_at("chose:output.kept")
    message = r"does not reach 'chose:output.kept' .* It does reach choose:output.kept, "
    with pytest.raises(ExportError, match=message):
        run(
            tmp_path, replace(wrong, outputs={"kept": replace(wrong.outputs["kept"], shape=[4, 3])})
        )


def test_a_called_segment_has_borders_with_the_step_that_calls_it_alone():
    memory, past = spec("memory", 1, 5), spec("past", Dynamic("n", 1, 2, 9), 5)
    half = replace(memory, dtype="float16")
    steps = (
        Artifact("encoder", "none", ("f",), (spec("x", 1),), (memory,)),
        Artifact("decoder", "none", ("f",), (half, past), (spec("fresh", 1, 5),)),
    )
    greedy = HostStep("greedy", "test", (memory,), (spec("tokens", 7),), calls=("decoder",))
    inputs, outputs = (spec("x", 1),), (spec("tokens", 7),)
    manifest = Manifest(
        "m", (), inputs, outputs, steps, None, None, None, {}, {}, Verification("passed"), (greedy,)
    )
    found = {(one.source, one.target): one for one in chain_boundaries(manifest)}
    assert list(found) == [("encoder", "greedy"), ("decoder", "greedy"), ("greedy", "decoder")]
    given, back = found["greedy", "decoder"], found["decoder", "greedy"]
    assert given.tensors == ("memory", "past") and given.size == 4 * (5 + 2 * 5)
    assert given.converted == ("memory from float32 to float16",)
    assert back.tensors == ("fresh",) and back.size == 20 and not back.converted
