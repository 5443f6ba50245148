"""The formulas are enough: code that follows them alone computes what the steps compute."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorSpec
from deploy.handover.formulas import effective_params
from deploy.runtime.execution.host_steps import host_factory
from deploy.runtime.execution.post_steps import make_post, post_factory
from deploy.runtime.execution.text_front_ends import registered_text_front_ends
from deploy.runtime.vision.placement import Placement

TENSOR = (64, 96)  # height and width of the input tensor


@pytest.fixture(scope="module")
def formulas():
    """The app's modules, which import each other as those of a program do."""
    sys.path.insert(0, str(Path(__file__).parent / "app"))
    try:
        import pictures
        import steps
        import tasks

        yield tasks
    finally:
        sys.path.pop(0)
        for module in (pictures, steps, tasks):
            del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def place(formulas):
    """A picture of 80 x 50 that is letterboxed in the centre."""
    return sys.modules["pictures"].Place(80, 50, 96, 60, 0, 2)


@pytest.fixture(scope="module")
def placement(place):
    scale = place.scaled_width / place.width, place.scaled_height / place.height
    return Placement(*scale, place.height, place.width, place.left, place.top, *TENSOR)


def params_of(id, **given):
    return effective_params(post_factory(id), given)


def result_of(id, tensors, **given):
    (result,) = make_post(id, given).batch(tensors)
    return result


def noise(*shape):
    """A generator that gives the same for the same shape, whichever tests run."""
    return np.random.default_rng(shape)


def boxes(count):
    """Boxes of which many overlap: centre and size, in pixels of the tensor."""
    drawn = noise(count)
    centre = drawn.choice([20.0, 24.0, 60.0], (count, 2)) + drawn.normal(0, 2, (count, 2))
    return np.hstack((centre, drawn.uniform(8, 24, (count, 2)))).astype(np.float32)


def shares(*shape):
    return noise(*shape).uniform(0, 1, shape).astype(np.float32)


def normal(*shape):
    return noise(*shape).normal(0, 2, shape).astype(np.float32)


def check_detections(found, expected, least=2):
    assert len(expected) >= least
    assert found[2].tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found[0], expected.boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found[1], expected.scores, rtol=1e-4)


def test_boxes_of_yolov3(formulas):
    given = boxes(40)
    tensors = [formulas.corners(given)[None], shares(1, 40, 3), shares(1, 40)]
    numbers = params_of("yolov3.boxes", num_classes=3, nms_pre=60, score_thr=0.3)
    found = formulas.yolo_boxes(numbers, *(tensor[0] for tensor in tensors))
    check_detections(found, result_of("yolov3.boxes", tensors, **numbers))


@pytest.mark.parametrize(
    ("tensors", "given"),
    [
        ([np.hstack((boxes(50), shares(50, 3))).T[None]], {"layout": "anchor_free"}),
        (
            [np.hstack((boxes(50) / 96, normal(50, 3)))[None]],
            {"layout": "anchor_free", "num_classes": 3, "scores": "logits", "units": "normalised",
             "size": [64, 96], "agnostic": True},
        ),
        (
            [np.hstack((boxes(50), shares(50, 3))).T[None]],
            {"layout": "anchor_free", "multi_label": True, "nms_pre": 30, "max_per_img": 9},
        ),
        ([np.hstack((boxes(50), shares(50, 4)))[None]], {"layout": "objectness"}),
        (
            [np.hstack((normal(126, 2), normal(126, 2) / 4 + 1, shares(126, 3)))[None]],
            {"layout": "yolox", "size": [64, 96]},
        ),
        (
            [normal(1, 4 * 8 + 2, 8, 12), normal(1, 4 * 8 + 2, 4, 6)],
            {"layout": "maps", "strides": [8, 16], "bins": 8, "iou_thr": 0.2},
        ),
        (
            [np.hstack((boxes(30), shares(30, 1), noise(30).integers(-1, 3, (30, 1))))[None]],
            {"layout": "end_to_end", "max_per_img": 10, "boxes": "xywh"},
        ),
    ],
)  # fmt: skip
def test_heads_of_yolo(formulas, tensors, given):
    tensors = [tensor.astype(np.float32) for tensor in tensors]
    found = formulas.yolo(params_of("detect.yolo", **given), tensors)
    check_detections(found, result_of("detect.yolo", tensors, **given))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_queries_of_detr(formulas, activation):
    tensors = [shares(1, 20, 4) / 2, normal(1, 20, 5)]
    given = {"activation": activation, "size": list(TENSOR)}
    found = formulas.detr(params_of("detect.detr", **given), tensors)
    check_detections(found, result_of("detect.detr", tensors, **given))


@pytest.mark.parametrize("dims", [2, 3])
def test_keypoints(formulas, dims):
    rows = np.hstack((boxes(40), shares(40, 2), shares(40, 5 * dims) * 60))
    tensor = rows.T[None].astype(np.float32)
    given = {"layout": "anchor_free", "keypoints": 5, "dims": dims}
    *found, points = formulas.pose(params_of("pose.yolo", **given), tensor)
    expected = result_of("pose.yolo", [tensor], **given)
    check_detections(found, expected)
    np.testing.assert_allclose(points, expected.keypoints, rtol=1e-5)


def test_rotated_boxes(formulas):
    rows = np.hstack((boxes(40), shares(40, 2), normal(40, 1)))
    tensor = rows.T[None].astype(np.float32)
    given = {"layout": "anchor_free", "iou_thr": 0.4}
    found = formulas.rotated(params_of("obb.yolo", **given), tensor)
    check_detections(found, result_of("obb.yolo", [tensor], **given))


@pytest.mark.parametrize("classes", [1, 4])
def test_classes_of_pixels(formulas, place, placement, classes):
    scores, given = normal(1, classes, 16, 24), {"threshold": 0.7}
    numbers = params_of("segment.semantic", **given)
    found = formulas.semantic(numbers, scores, place, TENSOR)
    expected = result_of("segment.semantic", [scores], **given).placed(placement).labels
    assert (found != expected).mean() < 1e-3  # but for rounding


def test_masks_of_prototypes(formulas, place, placement):
    rows = np.hstack((boxes(40), shares(40, 2), normal(40, 6))).T[None].astype(np.float32)
    prototypes, given = normal(1, 6, 16, 24), {"layout": "anchor_free"}
    numbers = params_of("segment.yolo", **given)
    *found, masks = formulas.prototype_masks(numbers, rows, prototypes, place, TENSOR)
    expected = result_of("segment.yolo", [rows, prototypes], **given).placed(placement)
    check_detections(found, expected)
    assert expected.masks.dense().any()
    assert (masks != expected.masks.dense()).mean() < 1e-4


def test_vectors(formulas):
    tensor = normal(1, 8, 1, 1)
    found = formulas.embed(params_of("embed"), tensor)
    np.testing.assert_allclose(found, result_of("embed", [tensor]).vector, rtol=1e-5)


@pytest.mark.parametrize(("blank", "classes"), [(0, "abcd"), (-1, "abcd"), (0, "abc")])
def test_lines_of_text(formulas, blank, classes):
    tensor = np.repeat(normal(1, 12, 5), 2, axis=1)
    given = {"scores": "logits", "blank": blank}
    text, scores = formulas.recognise(params_of("text.recognise", **given), tensor, classes)
    expected = result_of("text.recognise", [tensor], **given)
    assert text == expected.text(list(classes)) and len(text) > 5
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize("join", ["space", "none", "sentencepiece", "wordpiece"])
def test_tokens(formulas, join):
    tensor, classes = normal(1, 12, 5), ["end", "\u2581one", "##two", "three", "pad"]
    tensor[0, :8, 0], tensor[0, 8, 0] = -9, 99
    given = {"end": 0, "ignore": [4], "join": join}
    text = formulas.tokens(params_of("tokens", **given), tensor, classes)
    assert text and text == result_of("tokens", [tensor], **given).text(classes)


def test_a_loop_of_tokens(formulas):
    weights = normal(6, 5)

    def decoder(inputs):
        seen = inputs["past"].sum(axis=0) + inputs["token"] + inputs["memory"][:, 0]
        return {"logits": np.sin(seen) @ weights, "fresh": np.cos(seen)[None].astype(np.float32)}

    factory = host_factory("loop", "seq2seq.greedy")
    given = {"start": 1, "end": 2, "pad": 0, "steps": 9, "first": 3}
    inputs = {"memory": normal(8, 3, 6)}
    expected = factory({"decoder": decoder}, **given)(inputs)["tokens"]
    found = formulas.greedy(effective_params(factory, given), decoder, inputs)
    np.testing.assert_array_equal(found, expected)
    assert (expected == 0).any()


@pytest.mark.parametrize(("id", "text"), [("words", "Forty five  six"), ("characters", " Ab c")])
def test_words_and_characters(formulas, id, text):
    specs = [TensorSpec(name, "int64", (1, 8)) for name in ("input_ids", "attention_mask")]
    classes, factory = ["forty", "five", "a", "b", "c"], registered_text_front_ends()[id]
    given = {"lower": True, "pad": 7, "start": 8, "end": 9, "unknown": 6}
    expected = factory(inputs=tuple(specs), classes=classes, **given)(text)
    units = str.split if id == "words" else formulas.characters_of
    found = formulas.front_end(effective_params(factory, given), classes, units, text, 8)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
