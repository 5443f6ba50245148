"""What can be known before the export is refused before it, in words that help."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from backends import registry
from backends.contract import Dynamic, MissingLibraryError, TensorSpec
from backends.ncnn import border_obstacle
from deploy.pipeline import run
from deploy.pipeline.preconditions import checked_recipe
from deploy.recipe.model_inputs import check_model_inputs
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import (
    BackendRecipe,
    InputRecipe,
    ModelRecipe,
    PartitionRecipe,
    Recipe,
    RecipeError,
    SegmentRecipe,
)
from tests.helpers.commands import error_of

DEMO = ("+model=yolov3", "+backend=onnxruntime", "cache=off", "bundle=b")
POST = (
    "model.post=[{border: ['yolo_head:input'], id: yolov3.%s, "
    "params: {backbone: %s, num_classes: 10}}]"
)
DYNAMIC = (
    "+model=module",
    "model.target=torch.nn:ReLU",
    "model.inputs={image: {shape: [1, 3, height, 64]}}",
    "model.dynamic={height: [32, 64, 96]}",
    "+backend=ncnn",
    "bundle=b",
)
WHOLE_NUMBERS = (*DYNAMIC[:2], "model.inputs={ids: {shape: [1, 8], dtype: int64}}", *DYNAMIC[4:])
DOUBLE = (*DYNAMIC[:2], "model.inputs={x: {shape: [1, 8], dtype: float64}}", "bundle=b")
SMALL = (
    *("+model=module", "model.target=torch.nn:ReLU", "model.inputs={x: {shape: [1, 4]}}"),
    *("+backend=onnxruntime", "cache=off", "bundle=b"),
)
NOT_A_NUMBER = (  # the root of a negative variance
    *(*SMALL, "model.target=torch.nn:LayerNorm", "model.params={normalized_shape: 4, eps: -2}"),
)


@pytest.fixture
def unusable_files(tmp_path, monkeypatch) -> Path:
    """Files of which some are no good; an export here fails the test."""

    def exported(*_: object, **__: object) -> None:
        raise AssertionError("the export was called")

    monkeypatch.setattr("deploy.export.torch_source.export", exported)
    (tmp_path / "file").write_text("no weights")
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "bad.safetensors").write_text("no weights")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "w.work").mkdir()
    (tmp_path / "w.work" / "thesis.txt").touch()
    data = {"images": [{"id": 1, "file_name": "gone.jpg"}], "annotations": []}
    ten = [{"id": number, "name": str(number)} for number in range(10)]
    (tmp_path / "gone.json").write_text(json.dumps({**data, "categories": ten}))
    (tmp_path / "two.json").write_text(json.dumps({**data, "categories": ten[:2]}))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (DYNAMIC, "ncnn cannot take what goes into segment 'model': its files are of fixed shape"),
        (WHOLE_NUMBERS, "its tensors are float32: 'ids' int64[1, 8]. Choose another backend"),
        ((*DOUBLE, "+backend=openvino"), "openvino cannot take what goes into segment 'model'"),
        ((*DOUBLE, "+backend=tensorrt_rtx"), "int64 or bool: 'x' float64[1, 8]"),
        ((*SMALL, "partition.cuts=[necc]"), "unknown mark 'necc' in the cut at [necc]"),
        (
            (*SMALL, "partition.segments=[{name: a, start: [x], end: ['b:input']}]"),
            "unknown mark 'b' in the end of segment 'a'",
        ),
        ((*SMALL, "verify.tolerance={y: {max_rel: 0.1}}"), "tolerance.y: expected an output of a"),
        (
            (*SMALL, "model.post={id: embed, inputs: [y]}"),
            "model.post.inputs: expected outputs of the chain: output, got y",
        ),
        (NOT_A_NUMBER, "PyTorch gives NaN at 'output' for the sample"),
        ((*DEMO, "bundle=file/b"), "expected a folder that can be written, got"),
        ((*DEMO, "bundle=file"), "expected a new folder, or an earlier bundle to replace"),
        ((*DEMO, "bundle=full"), "expected a new folder, or an earlier bundle to replace"),
        ((*DEMO, "bundle=w"), "is needed for the files of this run"),
        ((*DEMO, "model.samples=nowhere"), "model.samples 'nowhere': expected pictures"),
        ((*DEMO, "model.samples=empty"), "model.samples 'empty': expected pictures"),
        ((*DEMO, "model.samples=bad.png"), "'bad.png' is not a picture"),
        ((*DEMO, "verify.eval=true", "model.eval=nowhere.json"), "data set 'nowhere.json'"),
        ((*DEMO, "verify.eval=true", "model.eval=gone.json"), "1 of them missing, such as"),
        ((*DEMO, "verify.eval=true", "model.eval=two.json"), "categories of the data set"),
        ((*DEMO, "model.weights=nowhere.pt"), "weights 'nowhere.pt': expected a file, got nothing"),
        ((*DEMO, "model.weights=full"), "weights 'full': expected a file, got a folder"),
        ((*DEMO, "model.weights=file"), "weights 'file': expected a file ending in .pt"),
        ((*DEMO, "model.weights=bad.safetensors"), "weights 'bad.safetensors'"),
        ((*DEMO, POST % ("nothing", "darknet53")), "host step 'yolov3.nothing': expected one of"),
        ((*DEMO, POST % ("maps", "resnet")), "backbone: expected darknet53 or mobilenetv2"),
        ((*DEMO, POST % ("maps", "[1]")), "host step 'yolov3.maps' does not take its parameters"),
        ((*DEMO, "backend.precision=fp3"), "precision of onnxruntime: expected fp32"),
        ((*DEMO, "backend.options.thread=2"), "thread"),
        ((*DEMO[:3], "bundle.sign=nowhere.pem"), "nowhere.pem"),
    ],
)
def test_what_is_wrong_is_said_before_the_export(words, message, unusable_files):
    assert message in error_of("deploy", *words, cwd=unusable_files)


def test_a_missing_library_is_said_without_loading_any(monkeypatch):
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    registry.check_libraries("ncnn", runs=True)  # its modules are there
    monkeypatch.setattr(registry, "find_spec", lambda _: None)
    message = r"backend 'ncnn' cannot be used here: ncnn, pnnx not installed.*\[desk,ncnn\]"
    with pytest.raises(MissingLibraryError, match=message):
        registry.check_libraries("ncnn", runs=True)


def recipe_of(inputs: dict[str, InputRecipe], dynamic=None, segments=(), **chain: str) -> Recipe:
    model = ModelRecipe(name="m", target="a:b", inputs=inputs, dynamic=dynamic or {})
    named = {name: BackendRecipe(name=backend) for name, backend in chain.items()}
    partition = PartitionRecipe(segments=list(segments))
    return Recipe(model=model, backend=BackendRecipe(name="ncnn"), chain=named, partition=partition)


def test_an_input_is_refused_only_where_a_segment_surely_takes_it():
    varies = {"height": [32, 64, 96]}
    image = InputRecipe([1, 3, "height", 64])
    first, second = (SegmentRecipe("a", ["m:input"], ["m:output"]), SegmentRecipe("b", ["c"], []))
    check_model_inputs(recipe_of({"image": InputRecipe([1, 3, 64, 64])}))
    check_model_inputs(recipe_of({"rows": InputRecipe(["height", 64])}, varies))
    mixed = recipe_of({"image": image}, varies, [first, second], a="onnxruntime")
    check_model_inputs(mixed)  # what enters the second is known after the export
    with pytest.raises(RecipeError, match=re.escape("'image' float32[1, 3, 32..96, 64]")):
        check_model_inputs(recipe_of({"image": image}, varies, [first, second]))
    named = SegmentRecipe("a", ["image"], [])
    with pytest.raises(RecipeError, match="segment 'a'"):
        check_model_inputs(recipe_of({"image": image}, varies, [named, second], b="onnxruntime"))


def test_ncnn_takes_rows_that_vary_together():
    rows, more = Dynamic("rows", 1, 4, 8), Dynamic("more", 1, 4, 8)
    assert not border_obstacle((TensorSpec("x", "float32", (rows, 4)),), ())
    assert not border_obstacle((TensorSpec("x", "float32", (2, 4)),), ())
    both = (TensorSpec("x", "float32", (rows, 4)), TensorSpec("y", "float32", (more, 4)))
    assert "'x' float32[1..8, 4]" in border_obstacle(both, ())


def test_the_checks_alone_load_no_engine(tmp_path):
    recipe = recipe_of({"x": InputRecipe([1, 4])})
    paths = RunPaths(tmp_path / "b", tmp_path / "b.work")
    assert checked_recipe(recipe, paths) == recipe
    assert not paths.work.exists() and run.checked_recipe is checked_recipe
