"""The demo's scenes are reproducible, honest about held-out handwriting, and labelled tightly."""

import numpy as np
import pytest
from digit_scenes import HELD_OUT, handwriting, make_scene, written
from sklearn.datasets import load_digits


def scenes(count, **arguments):
    return [make_scene(seed, held_out=True, **arguments) for seed in range(count)]


def test_a_seed_is_a_scene():
    first, again, other = (make_scene(seed, held_out=False) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)


def test_the_same_seed_with_held_out_handwriting_is_another_scene():
    assert not np.array_equal(make_scene(5, True).image, make_scene(5, False).image)


def test_no_handwriting_is_both_trained_on_and_held_out():
    train, held_out = handwriting(False), handwriting(True)
    assert (len(train.labels), len(held_out.labels)) == (1437, 252)
    known = {glyph.tobytes() for glyph in train.glyphs}
    assert known.isdisjoint(glyph.tobytes() for glyph in held_out.glyphs)
    assert set(held_out.labels) == set(range(10))


def test_held_out_handwriting_begins_with_a_form():
    labels = "".join(map(str, load_digits().target))
    printed_text = labels[646:776]
    assert labels[HELD_OUT].startswith("0123456789")
    assert labels[HELD_OUT].endswith(printed_text)
    assert labels[: HELD_OUT.start].endswith(printed_text[-10:])


@pytest.mark.parametrize("size", [(320, 320), (480, 640), (224, 160)])
def test_a_picture_has_the_size_asked_for_and_its_boxes_lie_inside(size):
    height, width = size
    for scene in scenes(10, height=height, width=width):
        assert scene.image.shape == (height, width, 3)
        assert scene.image.dtype == np.uint8
        assert scene.boxes.shape == (len(scene.labels), 4)
        assert (scene.boxes[:, :2] >= 0).all()
        assert (scene.boxes[:, 2:] <= (width, height)).all()


def test_a_box_is_the_tight_box_of_the_ink():
    glyphs = handwriting(True).glyphs
    rng = np.random.default_rng(0)
    for glyph in glyphs[:50]:
        ink = written(rng, glyph, height=float(rng.uniform(18, 160))) > 0.4
        assert ink.any(axis=0)[[0, -1]].all()
        assert ink.any(axis=1)[[0, -1]].all()


def test_digits_come_in_many_sizes_and_numbers():
    made = scenes(60)
    heights = np.concatenate([scene.boxes[:, 3] - scene.boxes[:, 1] for scene in made])
    counts = [len(scene.labels) for scene in made]
    assert heights.min() < 20
    assert heights.max() > 120
    assert min(counts) == 1
    assert 10 <= max(counts) <= 12


def test_digits_grow_with_the_picture():
    small, large = (
        np.median(np.concatenate([np.diff(scene.boxes[:, 1::2]) for scene in made]))
        for made in (scenes(40), scenes(40, height=640, width=640))
    )
    assert large == pytest.approx(2 * small, rel=0.4)


def test_digits_hardly_overlap():
    for scene in scenes(40):
        for index, box in enumerate(scene.boxes):
            for other in scene.boxes[:index]:
                sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
                smaller = min(np.prod(one[2:] - one[:2]) for one in (box, other))
                assert np.prod(sides.clip(0)) <= 0.08 * smaller + 1e-3


def test_a_digit_differs_from_what_is_behind_it():
    for scene in scenes(30, grain=0):
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            assert scene.image[y1:y2, x1:x2].std(axis=(0, 1)).max() > 4
