"""The precision stage: which segments are cast, what is kept, and what does not fit together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from backends import registry
from backends.contract import Artifact, TensorSpec
from deploy.bundle import assemble
from deploy.convert import Converted, cast_precision, checked_options
from deploy.precision.cast_segments import cast_segments
from deploy.precision.definitions import PrecisionError
from deploy.recipe.schema import (
    BackendRecipe,
    CastRecipe,
    ModelRecipe,
    PrecisionRecipe,
    Recipe,
    RecipeError,
)
from deploy.recipe.validate import check_backends
from deploy.report.chain_diagram import chain_boundaries
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import output_of
from tests.helpers.graphs import conv, decode

ENGINE = PrecisionRecipe(BackendRecipe("onnxruntime", {"optimize": "off"}))


def recipe(chain=None, **backend) -> Recipe:
    return Recipe(
        ModelRecipe("m"),
        BackendRecipe("onnxruntime", **backend),
        chain=chain or {},
        precision=ENGINE,
    )


@pytest.fixture
def segments(tmp_path):
    return [conv(tmp_path / "conv.onnx"), decode(tmp_path / "decode.onnx")]


@pytest.fixture
def values(segments):
    specs = [spec for segment in segments for spec in segment.inputs]
    return {spec.name: np.ones(spec.typical, np.float32) for spec in specs}


def test_only_the_segments_that_ask_for_it_are_cast(segments, values, tmp_path):
    half = BackendRecipe("onnxruntime", precision="fp16")
    after, (halved,) = cast_segments(recipe({"decode": half}), segments, values, tmp_path / "cast")
    assert after[0] is segments[0]
    assert after[1].onnx == tmp_path / "cast" / "decode.onnx"
    assert (halved.name, halved.precision) == ("decode", "fp16") and halved.cast > 3


def test_what_stays_in_fp32_is_counted_and_listed(segments, values, tmp_path):
    asked = recipe(precision="fp16", cast=CastRecipe(keep_ops=["Exp"]))
    _, halved = cast_segments(asked, segments, values, tmp_path / "cast")
    assert halved[1].kept["asked"] == 1
    listed = json.loads(halved[1].report.read_text())
    assert {"operator": "Exp", "why": "asked"}.items() <= listed[0].items()


def test_a_name_is_for_the_segments_that_have_it_and_an_error_where_none_has(
    segments, values, tmp_path
):
    asked = recipe(precision="fp16", cast=CastRecipe(keep_ops=["Exp"]))
    _, halved = cast_segments(asked, segments, values, tmp_path / "cast")
    assert [one.kept.get("asked", 0) for one in halved] == [0, 1]
    asked = recipe(precision="fp16", cast=CastRecipe(keep_ops=["Exq"]))
    with pytest.raises(PrecisionError, match=r"keep_ops of the cast: expected an operator.*'Exq'"):
        cast_segments(asked, segments, values, tmp_path / "other")


def test_without_an_engine_to_measure_with_it_is_refused(segments, values, tmp_path):
    asked = replace(recipe(precision="fp16"), precision=PrecisionRecipe())
    with pytest.raises(RecipeError, match=r"precision\.measure: expected a backend that runs"):
        cast_segments(asked, segments, values, tmp_path / "cast")


def test_a_backend_with_half_precision_of_its_own_gets_the_graph_in_fp32():
    backend = BackendRecipe("ncnn", precision="fp16")
    assert cast_precision(backend) == "fp32"
    assert checked_options(backend)["fp16"] is True
    assert checked_options(BackendRecipe("ncnn", {"fp16": True}))["fp16"] is True


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (BackendRecipe("ncnn", precision="bf16"), "precision of ncnn: expected fp32 or fp16"),
        (BackendRecipe("onnxruntime", precision="half"), "expected fp32 or fp16 or bf16, got half"),
        (
            BackendRecipe("onnxruntime", precision="bf16", cast=CastRecipe(io=True)),
            "cast.io with bf16: expected fp16, since NumPy has no bf16",
        ),
        (BackendRecipe("onnxruntime", build="here"), "build of onnxruntime: expected desk or dev"),
    ],
)
def test_what_no_backend_takes_is_refused_at_the_door(backend, message):
    with pytest.raises(RecipeError, match=message):
        check_backends(Recipe(ModelRecipe("m"), backend))


@pytest.mark.parametrize(("dtype", "fits"), [("float16", True), ("int64", False)])
def test_neighbours_may_differ_in_precision_and_in_no_other_way(tmp_path, dtype, fits):
    single = TensorSpec("x", "float32", (1,))
    other = replace(single, dtype=dtype)
    one = Artifact("one", "none", ("f",), (replace(single, name="in"),), (other,))
    two = Artifact("two", "none", ("f",), (single,), (replace(single, name="out"),))
    (tmp_path / "f").write_text("")
    engines = [Converted(step, tmp_path, tmp_path) for step in (one, two)]
    if fits:
        (border,) = chain_boundaries(assemble(ModelRecipe("m"), engines, tmp_path / "bundle"))
        assert border.converted == ("x from float16 to float32",) and border.size == 2
        return
    with pytest.raises(RecipeError, match="'x' of step 'two': expected int64, as step 'one'"):
        assemble(ModelRecipe("m"), engines, tmp_path / "bundle")


@pytest.mark.parametrize("io", ["false", "true"])
def test_a_job_in_fp16_sees_what_pytorch_sees(io, tmp_path):
    said = output_of(
        "deploy", "+model=yolov3", "+backend=onnxruntime", "backend.precision=fp16",
        f"backend.cast.io={io}", "bundle=half", "bench.runs=1", cwd=tmp_path,
    )  # fmt: skip
    assert "precision   yolov3: 174 nodes in fp16" in said
    assert "68 of 68 detections matched" in said
    (step,) = read_manifest(tmp_path / "half").steps
    assert step.precision == "fp16"
    assert step.inputs[0].dtype == ("float16" if io == "true" else "float32")
    assert 1e-4 < read_manifest(tmp_path / "half").verification.gaps[0].gap.max_rel < 5e-2
    assert "BAD" not in output_of("deploy.runtime", "check", "half", cwd=tmp_path)


def test_every_backend_says_which_precisions_it_has_of_its_own():
    for name in registry.names():
        own = registry.about(name).precisions
        assert own is None or set(own) <= {"fp16", "bf16"}
