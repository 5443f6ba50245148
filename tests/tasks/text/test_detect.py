"""Maps of text become boxes around its lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.contract import TensorError
from deploy.runtime.vision.placement import Placement
from deploy.tasks.polygons import quad_overlaps
from deploy.tasks.text.boxes import TextBoxes
from deploy.tasks.text.components import label_runs, runs_of
from deploy.tasks.text.dbnet import DetectText
from deploy.tasks.text.rectangles import rectangles_around

GOLDEN = Path(__file__).parent / "golden"
SAME_SIZE = Placement(1.0, 1.0, 20, 40, tensor_height=20, tensor_width=40)


def bars(*corners: tuple[int, int, int, int]) -> np.ndarray:
    """A map (1, 1, 20, 40) with text in each box x1, y1, x2, y2, the last pixels included."""
    text = np.zeros((1, 1, 20, 40), np.float32)
    for x1, y1, x2, y2 in corners:
        text[0, 0, y1 : y2 + 1, x1 : x2 + 1] = 0.9
    return text


def found(text: np.ndarray, **params: object) -> TextBoxes:
    (boxes,) = DetectText(**params).batch([text])
    return boxes


def boxes_of(*quads: object, scores: float = 0.9) -> TextBoxes:
    quads = np.array(quads, np.float32).reshape(-1, 4, 2)
    return TextBoxes(quads, np.full(len(quads), scores, np.float32))


WIDE = [[2, 2], [22, 2], [22, 8], [2, 8]]


@pytest.mark.parametrize("name", ["plain", "dilated"])
@pytest.mark.parametrize("number", [0, 1])
def test_boxes_are_those_of_rapidocr_but_for_its_rounding(name, number):
    golden = np.load(GOLDEN / "dbnet.npz")
    step = DetectText(box_thresh=0.5, unclip_ratio=1.6, use_dilation=name == "dilated")
    (boxes,) = step.batch([golden["maps"][number : number + 1].astype(np.float32) / 255])
    theirs, scores = golden[f"{name}_boxes_{number}"], golden[f"{name}_scores_{number}"]
    assert len(boxes) == len(theirs) == 5
    overlaps = np.array([quad_overlaps(quad, boxes.quads) for quad in theirs])
    assert overlaps.max(axis=1).min() > 0.92
    corners = np.abs(theirs - boxes.quads[overlaps.argmax(axis=1)])
    assert corners.max() < 2.0
    assert np.allclose(boxes.scores[overlaps.argmax(axis=1)], scores, atol=0.006)


def test_components_and_their_smallest_rectangles_are_those_of_opencv():
    golden = np.load(GOLDEN / "components.npz")
    labels = golden["labels"]
    runs = runs_of(labels > 0)
    components = label_runs(runs, labels.shape[1])
    pairs = set(zip(components.tolist(), labels[runs.row, runs.first].tolist(), strict=True))
    assert len(pairs) == labels.max() == components.max() + 1  # one to one
    rectangles = rectangles_around(runs, components, len(pairs))
    theirs = golden["areas"][[label - 1 for _, label in sorted(pairs)]]
    assert np.allclose(4 * rectangles.halves.prod(axis=1), theirs, rtol=1e-4, atol=1e-4)
    held = np.zeros(labels.shape, bool)
    for row, first, last in zip(*runs, strict=True):
        held[row, first : last + 1] = True
    assert (held == (labels > 0)).all()


def test_a_spiral_is_one_component_and_pixels_that_touch_at_corners_are_too():
    spiral = np.zeros((21, 21), bool)
    row, column, step = 10, 10, (0, 1)
    for length in [side for side in range(2, 20, 2) for _ in range(2)]:
        for _ in range(length):
            row, column = row + step[0], column + step[1]
            spiral[row % 21, column % 21] = True
        step = step[1], -step[0]
    runs = runs_of(spiral)
    assert len(runs.row) > 40 and not label_runs(runs, 21).any()
    corners = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]], bool)
    assert label_runs(runs_of(corners), 3).tolist() == [0, 0, 0, 1, 2]


def test_a_box_grows_by_its_area_over_its_perimeter():
    boxes = found(bars((10, 8, 30, 12)), unclip_ratio=3)
    grown = 20 * 4 * 3 / 48
    assert boxes.quads[0].tolist() == [
        [10 - grown, 8 - grown],
        [30 + grown, 8 - grown],
        [30 + grown, 12 + grown],
        [10 - grown, 12 + grown],
    ]
    assert boxes.scores.tolist() == pytest.approx([0.9])


def test_a_turned_line_has_a_turned_box_from_its_top_left():
    y, x = np.mgrid[:60, :60] - 29.5
    for degrees in (-40, -10, 30, 40):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        inside = (np.abs(x * cosine + y * sine) < 20) & (np.abs(y * cosine - x * sine) < 5)
        boxes = found(inside[None].astype(np.float32), unclip_ratio=0)
        side = boxes.quads[0, 1] - boxes.quads[0, 0]
        assert np.degrees(np.arctan2(side[1], side[0])) == pytest.approx(degrees, abs=4)
        assert boxes.quads[0].mean(axis=0).tolist() == pytest.approx([29.5, 29.5], abs=0.8)
        assert np.hypot(*side) == pytest.approx(40, abs=3)


def test_lines_are_in_reading_order():
    text = bars((25, 2, 35, 6), (2, 3, 12, 7), (14, 13, 30, 18))
    corners = found(text).quads[:, 0].round().tolist()
    assert [corner[0] for corner in corners] == pytest.approx([0, 23, 12], abs=2)


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 2),
        ({"thresh": 0.95}, 0),
        ({"box_thresh": 0.95}, 0),
        ({"min_size": 5}, 1),
        ({"max_candidates": 1}, 1),
        ({"unclip_ratio": 0, "min_size": 3}, 1),
    ],
)
def test_parameters_choose_among_the_boxes(params, count):
    assert len(found(bars((2, 2, 30, 8), (2, 12, 30, 16)), **params)) == count


def test_the_largest_components_are_the_candidates():
    boxes = found(bars((2, 2, 10, 6), (2, 10, 37, 15)), max_candidates=1)
    assert boxes.quads[0, 0, 1] > 6


def test_dilation_joins_parts_that_are_a_pixel_apart():
    text = bars((2, 2, 10, 8), (12, 2, 20, 8))
    assert len(found(text)) == 2 and len(found(text, use_dilation=True, box_thresh=0.5)) == 1


def test_logits_give_the_boxes_of_their_probabilities():
    text = bars((5, 5, 30, 10)).clip(0.05, 0.9)
    logits = np.log(text / (1 - text))
    assert np.allclose(found(logits, scores="logits").quads, found(text).quads)
    logits[0, 0, 0, :9] = np.nan, np.inf, -np.inf, 1e30, -1e30, 0, 0, 0, 0
    assert found(logits, scores="logits").quads.shape == (1, 4, 2)


def test_a_full_map_is_one_box_and_an_empty_one_none():
    assert found(np.ones((1, 20, 40), np.float32), unclip_ratio=0).quads.tolist() == [
        [[0, 0], [39, 0], [39, 19], [0, 19]]
    ]
    assert len(found(np.zeros((1, 1, 20, 40), np.float32))) == 0
    assert DetectText().batch([np.zeros((0, 1, 20, 40), np.float32)]) == []


def test_single_pixels_and_lines_without_a_height_are_no_boxes():
    text = bars((3, 3, 3, 3), (1, 10, 30, 10))
    assert len(found(text)) == 0
    assert len(found(text, min_size=0, unclip_ratio=100)) == 0


def test_values_that_are_no_numbers_are_no_text():
    text = bars((5, 5, 30, 10))
    text[0, 0, :2] = np.nan
    text[0, 0, 15:] = -np.inf
    assert np.isfinite(found(text).quads).all() and len(found(text)) == 1
    assert len(found(np.full_like(text, np.nan))) == 0
    assert len(found(np.full((1, 20, 40), np.inf, np.float16))) == 1


def test_each_picture_of_a_batch_has_its_own_boxes():
    first, second = bars((2, 2, 20, 8)), bars((2, 2, 20, 8), (2, 12, 20, 18))
    counts = [len(boxes) for boxes in DetectText().batch([np.concatenate((first, second))])]
    assert counts == [1, 2]


def test_noise_is_done_in_a_moment_and_in_the_same_way_every_time():
    noise = np.random.default_rng(0).uniform(0, 0.8, (1, 1, 320, 320)).astype(np.float32)
    first, second = (found(noise, thresh=0.6, box_thresh=0) for _ in range(2))
    assert len(first) > 100 and (first.quads == second.quads).all()


def test_a_coarse_map_is_placed_in_the_pictures_pixels():
    boxes = found(bars((10, 8, 30, 12)), unclip_ratio=0, min_size=2)
    placement = Placement(0.5, 0.5, 100, 200, offset_y=5.0, tensor_height=80, tensor_width=160)
    placed = boxes.placed(placement)
    assert type(placed) is TextBoxes
    assert placed.quads[0].tolist() == [[80, 54], [240, 54], [240, 86], [80, 86]]
    same = boxes.placed(SAME_SIZE)
    assert same.quads.tolist() == boxes.quads.tolist()


@pytest.mark.parametrize(
    "shapes", [[], [(4, 4)], [(1, 2, 4, 4)], [(1, 1, 0, 4)], [(1, 4, 0)], [(1, 4, 4), (1, 4, 4)]]
)
def test_other_tensors_are_refused(shapes):
    with pytest.raises(TensorError, match=r"one map \[N, 1, h, w\].*inputs: \[NAME\]"):
        DetectText().batch([np.zeros(shape, np.float32) for shape in shapes])


def test_boxes_agree_by_iou_counted_from_both_sides():
    moved = np.add(WIDE, (0.2, 0))
    other = [[2, 12], [22, 12], [22, 18], [2, 18]]
    agreement = TextBoxes.agreement([boxes_of(WIDE, other)], [boxes_of(moved)])
    assert (agreement.matched, agreement.total, agreement.noun) == (2, 3, "text boxes")
    assert agreement.details["smallest_iou"] == pytest.approx(19.8 / 20.2)
    far = np.add(WIDE, (3, 0))
    assert TextBoxes.agreement([boxes_of(WIDE)], [boxes_of(far)]).matched == 0
    nothing = boxes_of()
    assert TextBoxes.agreement([nothing], [nothing]).share == 1.0
    assert TextBoxes.agreement([boxes_of(WIDE, scores=0.2)], [nothing]).total == 0


def test_boxes_are_told_in_lines_and_json():
    boxes = boxes_of(WIDE, WIDE)
    assert (
        boxes.summary() == "2 lines of text" and boxes.take(np.array([0])).summary()[:6] == "1 line"
    )
    assert boxes.lines()[0].startswith("0.900      2.0,    2.0     22.0,    2.0")
    assert boxes.to_json()[0]["polygon"] == WIDE
    assert len(boxes.above(0.95)) == 0


def test_boxes_are_drawn_as_their_outlines():
    picture = np.full((40, 60, 3), 200, np.uint8)
    drawn = np.asarray(boxes_of(WIDE, [[-1e20, 30], [1e20, 30], [50, 35], [5, 35]]).draw(picture))
    assert (drawn[2, 3:22] != 200).any(axis=1).all() and (drawn[5, 5:20] == 200).all()
    assert (np.asarray(boxes_of().draw(picture)) == 200).all()


def test_a_crop_holds_the_line_upright():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 10:40] = np.linspace(60, 240, 30)[None, :, None]
    picture = Image.fromarray(pixels)
    wide = [[10, 10], [40, 10], [40, 20], [10, 20]]
    tall = np.array(wide)[:, ::-1][[0, 3, 2, 1]]
    across, down = boxes_of(wide, tall).crops(picture)
    assert across.size == (30, 10) and np.allclose(across, pixels[10:20, 10:40], atol=2)
    assert down.size == (30, 10)  # turned by a quarter
    downwards = picture.transpose(Image.Transpose.ROTATE_270)  # text that runs down
    (upright,) = boxes_of([[20, 10], [30, 10], [30, 40], [20, 40]]).crops(downwards)
    assert np.allclose(upright, pixels[10:20, 10:40], atol=2)
    huge = boxes_of([[0, 0], [1e9, 0], [1e9, 1e9], [0, 1e9]]).crops(picture)[0]
    assert max(huge.size) <= 73


@pytest.mark.parametrize(
    ("quads", "scores"),
    [
        (np.zeros((1, 4, 2)), np.zeros(1, np.float32)),
        (np.zeros((2, 4, 2), np.float32), np.zeros(1, np.float32)),
        (np.zeros((1, 4), np.float32), np.zeros(1, np.float32)),
        (np.zeros((1, 4, 2), np.float32), np.zeros((), np.float32)),
        (np.full((1, 4, 2), np.nan, np.float32), np.zeros(1, np.float32)),
        (np.zeros((1, 4, 2), np.float32), np.full(1, np.inf, np.float32)),
    ],
)
def test_arrays_of_a_stranger_that_are_no_boxes_are_refused(quads, scores):
    with pytest.raises(ValueError, match=r"expected (quads|finite)"):
        TextBoxes.from_arrays({"quads": quads, "scores": scores})
    good = boxes_of(WIDE)
    assert TextBoxes.from_arrays(good.to_arrays()).to_json() == good.to_json()
