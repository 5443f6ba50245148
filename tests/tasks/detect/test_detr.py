"""The step ``detect.detr`` against the processors of transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.contract import TensorError
from deploy.tasks.detect.detr import Detr

GOLDEN = Path(__file__).parent / "golden" / "detr.npz"


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("is_swapped", [False, True])
def test_queries_become_the_detections_of_transformers(activation, is_swapped):
    with np.load(GOLDEN) as arrays:
        tensors = [arrays["logits"], arrays["boxes"]]
        step = Detr(activation, size=(240, 320), score_thr=0.4)
        pictures = step.batch(tensors[::-1] if is_swapped else tensors)
        for number, found in enumerate(pictures):
            scores = arrays[f"{activation}_scores_{number}"]
            order = np.argsort(-scores, kind="stable")
            assert len(scores) > 3
            np.testing.assert_allclose(found.scores, scores[order], atol=1e-6)
            np.testing.assert_array_equal(
                found.labels, arrays[f"{activation}_labels_{number}"][order]
            )
            boxes = arrays[f"{activation}_boxes_{number}"]
            np.testing.assert_allclose(found.boxes, boxes[order], atol=1e-3)


def test_as_many_pairs_are_looked_at_as_the_parameter_says():
    rng = np.random.default_rng(0)
    tensors = [rng.normal(2, 1, (1, 30, 5)), rng.uniform(0, 1, (1, 30, 4))]
    [found] = Detr("sigmoid", size=(64, 64), num_select=7).batch(
        [tensor.astype(np.float32) for tensor in tensors]
    )
    assert len(found) == 7


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("queries", [0, 1, 5])
def test_queries_without_finite_values_are_dropped(activation, queries):
    logits, boxes = np.zeros((2, queries, 3), np.float32), np.zeros((2, queries, 4), np.float32)
    logits[0], logits[1, ..., 0], boxes[1] = np.nan, 9, np.inf
    found = Detr(activation, size=(64, 64)).batch([logits, boxes])
    assert [len(picture) for picture in found] == [0, 0]


@pytest.mark.parametrize(
    "shapes", [[(1, 5, 3)], [(1, 5, 3), (1, 4, 4)], [(1, 5, 3), (1, 5, 5)], [(5, 3), (5, 4)]]
)
def test_other_shapes_are_refused(shapes):
    with pytest.raises(TensorError, match=r"expected logits \[N, queries, classes\] and boxes"):
        Detr("sigmoid", size=(64, 64)).batch([np.zeros(shape, np.float32) for shape in shapes])
