"""Every registered step takes its parameters, or refuses them by one clear error, at once."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backends.contract import DeployError, TensorSpec
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.host_steps import (
    HostStepError,
    make_host_function,
    registered_host_steps,
)
from deploy.runtime.execution.post_steps import PostError, make_post, registered_posts

GOOD: Mapping[str, dict[str, Any]] = {
    "yolov3.maps": {"backbone": "darknet53", "num_classes": 2},
    "yolov3.boxes": {"num_classes": 2},
    "detect.detr": {"activation": "sigmoid", "size": [64, 64]},
    "detect.yolo": {},
    "mask_rcnn.masks": {},
    "mask_rcnn.proposals": {"height": 64, "width": 64},
    "mask_rcnn.roi_align": {"size": 7},
    "mask_rcnn.detections": {"height": 64, "width": 64},
    "classify": {},
    "text.detect": {},
    "text.recognise": {},
    "embed": {},
    "segment.semantic": {},
    "segment.yolo": {},
    "pose.yolo": {},
    "obb.yolo": {},
    "seq2seq.greedy": {"start": 0, "end": 1, "pad": 0, "steps": 4},
}
CALLS = {"seq2seq.greedy": ("decoder",)}
STEPS = {**registered_posts(), **registered_host_steps()}
PARAMETERS = [
    (id, name)
    for id, factory in STEPS.items()
    for name in inspect.signature(factory).parameters
    if name != "segments"
]


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 10**4000, 1.5, -0.0, 1e308]),
    st.floats(),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.just("\ud800"), st.just("x" * 10**5)
)
HOSTILE = st.one_of(
    LEAVES,
    st.recursive(
        LEAVES,
        lambda items: (
            st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=3), items, max_size=3)
        ),
        max_leaves=8,
    ),
    st.builds(nested, LEAVES, st.integers(1, 400)),
    # of the right depth, and the wrong sizes and values
    st.lists(st.lists(st.lists(NUMBERS, max_size=3), max_size=4), max_size=4),
    st.builds(lambda count: [[[10, 10]] * count] * 3, st.integers(0, 1_000)),
)


def make(id: str, params: Mapping[str, Any]) -> Any:
    if id in registered_posts():
        return make_post(id, params)
    specs = (TensorSpec("x", "float32", (1,)),)
    step = HostStep("step", id, specs, specs, params, CALLS.get(id, ()))
    return make_host_function(step, {name: lambda inputs: {} for name in step.calls})


def made_or_refused(id: str, params: Mapping[str, Any]) -> None:
    start = time.monotonic()
    try:
        make(id, params)
    except (PostError, HostStepError) as error:
        assert id in str(error)
        assert len(str(error)) < 2_000
    assert time.monotonic() - start < 5


def test_every_registered_step_is_tested_here():
    assert STEPS.keys() == GOOD.keys()
    for id, params in GOOD.items():
        make(id, params)


@pytest.mark.parametrize(
    ("id", "name"), PARAMETERS, ids=[f"{id} {name}" for id, name in PARAMETERS]
)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=HOSTILE)
@example(value=nested(1, 200))
@example(value=10**30)
@example(value=float("nan"))
@example(value=float("inf"))
@example(value=[])
@example(value={})
@example(value=[[[10], [10], [10]]] * 3)
@example(value=[[], [], []])
@example(value=[[[10, 10]], [[10, 10]] * 2, [[10, 10]]])
def test_a_parameter_is_taken_or_refused(id, name, value):
    made_or_refused(id, {**GOOD[id], name: value})


@pytest.mark.parametrize("id", GOOD)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(params=st.dictionaries(st.text(max_size=4) | st.just("segments"), HOSTILE, max_size=3))
def test_parameters_of_any_name_are_refused(id, params):
    if not params.keys() & dict(PARAMETERS).keys():
        made_or_refused(id, {**GOOD[id], **params})


@pytest.mark.parametrize(
    ("id", "name", "value", "message"),
    [
        ("yolov3.maps", "max_per_img", 1.5, r"img: expected int from 1 to 10,000, got 1\.5"),
        ("yolov3.maps", "max_per_img", True, "expected int from 1 to 10,000, got True"),
        ("yolov3.maps", "max_per_img", 10**30, r"parameters\.max_per_img: .* at most 64 bits, got"),
        ("yolov3.maps", "nms_pre", -1, "nms_pre: expected int from 1 to 100,000, got -1"),
        ("yolov3.maps", "iou_thr", float("nan"), "iou_thr: expected a finite number, got nan"),
        ("yolov3.maps", "anchors", nested(1, 200), r"anchors(\[0\])+: expected at most 32 levels"),
        ("yolov3.maps", "anchors", [], "anchors: expected 3 values, got"),
        ("yolov3.maps", "anchors", [[]] * 3, r"anchors\[0\]: expected an array of length 1 to 100"),
        ("yolov3.maps", "anchors", [[[10]] * 3] * 3, r"anchors\[0\]\[0\]: expected 2 values, got"),
        ("yolov3.maps", "anchors", [[[0, 10]]] * 3, r"expected float from 0\.01 to 1,000,000"),
        ("yolov3.maps", "anchors", [[[1, 1]], [[1, 1]] * 2, [[1, 1]]], r"equally many .*1, 2, 1"),
        ("yolov3.maps", "backbone", "resnet", "expected darknet53 or mobilenetv2, got 'resnet'"),
        ("mask_rcnn.masks", "threshold", "0.5", r"threshold: expected float from -1 to 1, got"),
        ("mask_rcnn.proposals", "nms_pre", 10**9, "nms_pre: expected int from 1 to 100,000, got 1"),
        ("mask_rcnn.proposals", "height", 0, "height: expected int from 1 to 100,000, got 0"),
        ("mask_rcnn.roi_align", "size", 10**6, "size: expected int from 1 to 64, got 1000000"),
        ("text.detect", "unclip_ratio", 1e9, r"unclip_ratio: expected float from 0 to 100, got 1"),
        ("text.detect", "max_candidates", 0, "max_candidates: expected int from 1 to 10,000, got"),
        ("text.recognise", "blank", -2, "blank: expected int from -1 to 100,000, got -2"),
        ("text.recognise", "layout", "NCT", "layout: expected 'NTC' or 'TNC', got 'NCT'"),
        ("seq2seq.greedy", "steps", 10**8, "steps: expected int from 1 to 10,000, got 100000000"),
        ("seq2seq.greedy", "first", 2**40, "first: expected int from -2,147,483,648 to 2,1"),
        ("seq2seq.greedy", "segments", {}, "unknown parameter 'segments': expected start"),
    ],
)  # fmt: skip
def test_an_error_names_step_parameter_what_was_expected_and_what_came(id, name, value, message):
    with pytest.raises(DeployError, match=rf"{id}.* does not take its parameters: .*{message}"):
        make(id, {**GOOD[id], name: value})


def test_published_configurations_of_others_pass():
    make("yolov3.maps", {**GOOD["yolov3.maps"], "conf_thr": -1, "nms_pre": 30_000, "score_thr": 0})
    make("mask_rcnn.proposals", {**GOOD["mask_rcnn.proposals"], "nms_pre": 12_000, "scale": 4})
    anchors = [[[116.5, 90], [156, 198]], [[30, 61], [62, 45]], [[10, 13], [16, 30]]]
    make("yolov3.maps", {**GOOD["yolov3.maps"], "anchors": anchors})
