"""What configurations of MMDeploy say, as recipes."""

from __future__ import annotations

from typing import Any

import pytest

from backends import registry
from backends.options import parse_options
from deploy.cli.compose import from_plain
from deploy.mmdeploy.translation import TranslationError, translate

ONNX = {"type": "onnx", "opset_version": 11, "input_names": ["image"], "input_shape": [640, 320]}
RANGES = {
    "image": {
        "min_shape": [1, 3, 320, 320],
        "opt_shape": [1, 3, 800, 1344],
        "max_shape": [1, 3, 1344, 1344],
    }
}
AXES = {"image": {0: "batch", 2: "height", 3: "width"}, "dets": {1: "num_dets"}}


def test_a_size_is_written_as_width_and_height_there():
    assert translate({"onnx_config": ONNX}).values == {
        "model": {"inputs": {"image": {"shape": [1, 3, 320, 640]}}}
    }


@pytest.mark.parametrize("backend", registry.names())
def test_dynamic_axes_take_their_ranges_from_the_shapes_of_the_backend(backend):
    config = {
        "onnx_config": {**ONNX, "dynamic_axes": AXES},
        "backend_config": {"type": backend, "model_inputs": [{"input_shapes": RANGES}]},
    }
    recipe = translate(config)
    assert recipe.backend == backend
    assert recipe.values["model"] == {
        "inputs": {"image": {"shape": [1, 3, "height", "width"]}},
        "dynamic": {"height": [320, 800, 1344], "width": [320, 1344, 1344]},
    }
    assert recipe.remarks == ()


def test_dynamic_axes_without_ranges_are_to_be_completed():
    recipe = translate({"onnx_config": {**ONNX, "input_shape": None, "dynamic_axes": AXES}})
    assert recipe.values["model"]["inputs"]["image"]["shape"] == ["batch", 3, "height", "width"]
    assert recipe.values["model"]["dynamic"]["height"] == "???"
    assert "model.dynamic.height: write [least, usual, largest]" in recipe.remarks


def test_half_precision_and_the_workspace_are_kept_and_int8_is_said():
    common = {"fp16_mode": True, "int8_mode": True, "max_workspace_size": 3 << 30}
    recipe = translate({"backend_config": {"type": "tensorrt", "common_config": common}})
    assert recipe.values["backend"] == {"precision": "fp16", "options": {"workspace_mib": 3072}}
    options = recipe.values["backend"]["options"]
    assert (
        parse_options(registry.options_type("tensorrt"), options, "tensorrt").workspace_mib == 3072
    )
    assert any(remark.startswith("int8: not made here") for remark in recipe.remarks)


def test_segments_of_a_partition_keep_their_marks_and_names():
    entries = [
        {
            "save_file": "yolov3.onnx",
            "start": ["detector_forward:input"],
            "end": "yolo_head[0]:input",
            "output_names": ["a", "b"],
            "dynamic_axes": {"a": {0: "boxes"}},
        }
    ]
    recipe = translate({"partition_config": {"type": "own", "partition_cfg": entries}})
    segment = {
        "name": "yolov3",
        "start": ["detector_forward:input"],
        "end": ["yolo_head[0]:input"],
        "outputs": ["a", "b"],
    }
    assert recipe.values["partition"] == {"segments": [segment]}
    assert recipe.marks == ("detector_forward", "yolo_head")
    assert any(remark.startswith("segment yolov3: where a varies ") for remark in recipe.remarks)
    plain = {"backend": {"name": "none"}, "partition": recipe.values["partition"]}
    assert from_plain({**plain, "model": {"name": "n"}}).partition.segments[0].outputs == ["a", "b"]


def test_a_partition_that_names_its_type_alone_has_the_segments_of_that_type():
    segments = translate({"partition_config": {"type": "two_stage"}}).values["partition"][
        "segments"
    ]
    assert [segment["end"] for segment in segments] == [
        ["extract_feat:output", "multiclass_nms[0]:input"],
        ["bbox_head_forward:output"],
    ]
    unknown = translate({"partition_config": {"type": "of_my_own"}})
    assert "partition" not in unknown.values
    assert "partition of_my_own: it lists no segments; write partition.segments" in unknown.remarks


def test_what_has_no_counterpart_is_said():
    config = {
        "backend_config": {"type": "rknn"},
        "calib_config": {"create_calib": True},
        "codebase_config": {"post_processing": {"iou_threshold": 0.5}},
        "onnx_config": {**ONNX, "custom": 1},
    }
    recipe = translate(config)
    assert recipe.backend == ""
    assert [remark.partition(":")[0] for remark in recipe.remarks] == [
        "backend rknn",
        "post-processing (iou_threshold 0.5)",
        "calib_config",
        "onnx_config.custom",
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"onnx_config": [1]}, "onnx_config: expected a dict, got list"),
        ({"onnx_config": {"input_shape": 3}}, r"input_shape: expected \[width, height\], got 3"),
        ({"partition_config": {"partition_cfg": [{"start": 1}]}}, "start: expected a mark"),
    ],
)
def test_values_of_other_types_are_refused(config: dict[str, Any], message):
    with pytest.raises(TranslationError, match=message):
        translate(config)
