"""The example's RetinaNet post-processing finds what MMDetection's own ``RetinaHead`` does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from deploy.runtime.execution.own_posts import OwnPostError, as_factory
from deploy.runtime.vision.image import Placement

ROOT = Path(__file__).parents[2]
MAPS = 10


def load_example() -> ModuleType:
    path = ROOT / "examples" / "mmdetection" / "retinanet_post.py"
    spec = importlib.util.spec_from_file_location("retinanet_post", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["retinanet_post"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


example = load_example()


@pytest.fixture(autouse=True)
def uncompiled_nms(monkeypatch) -> None:
    """A compilation takes longer than all of these tests."""
    monkeypatch.setenv("DEPLOY_NO_COMPILE", "1")


@pytest.fixture(scope="module")
def retinanet_golden() -> dict[str, Any]:
    with np.load(ROOT / "tests" / "data" / "retinanet" / "post.npz") as arrays:
        return dict(arrays)


def maps_of(retinanet_golden: dict[str, Any]) -> list[Any]:
    return [retinanet_golden[f"map_{number}"] for number in range(MAPS)]


def post(**params: Any) -> Any:
    return as_factory(example.decode)(**params)


@pytest.mark.parametrize(
    ("variant", "params"),
    [("all", {}), ("few", {"nms_pre": 20, "max_per_img": 12, "score_thr": 0.3})],
)
def test_the_detections_are_those_of_mmdetection(retinanet_golden, variant, params):
    (found,) = post(**params).batch(maps_of(retinanet_golden))
    assert len(found) == len(retinanet_golden[f"{variant}_scores"]) >= 12
    np.testing.assert_array_equal(found.labels, retinanet_golden[f"{variant}_labels"])
    np.testing.assert_allclose(found.scores, retinanet_golden[f"{variant}_scores"], atol=1e-6)
    np.testing.assert_allclose(found.boxes, retinanet_golden[f"{variant}_boxes"], atol=1e-4)


def test_each_picture_of_a_batch_has_its_own(retinanet_golden):
    maps = maps_of(retinanet_golden)
    silent = [np.full_like(item, -20) for item in maps]
    batch = [np.concatenate(pair) for pair in zip(silent, maps, strict=True)]
    first, second = post().batch(batch)
    assert len(first) == 0
    np.testing.assert_array_equal(second.boxes, post().batch(maps)[0].boxes)


def test_values_that_are_not_finite_give_no_detection(retinanet_golden):
    maps = maps_of(retinanet_golden)
    logits, deltas = maps[:5], maps[5:]
    undefined = [np.full_like(item, np.nan) for item in logits]
    assert len(post().batch([*undefined, *deltas])[0]) == 0
    infinite = [np.full_like(item, np.inf) for item in deltas]
    found = post().batch([*logits, *infinite])[0]
    assert np.isfinite(found.boxes).all()


def test_boxes_end_at_the_border_of_the_picture_not_of_the_padding():
    boxes = np.array([[10, 20, 96, 64]], np.float32)
    found = example.InPicture(boxes, np.ones(1, np.float32), np.zeros(1, np.int64))
    placed = found.placed(Placement(1, 1, 50, 70))
    assert placed.boxes.tolist() == [[10, 20, 70, 50]]


def test_another_number_of_maps_is_refused(retinanet_golden):
    with pytest.raises(OwnPostError, match="'decode' fails with ValueError in line"):
        post().batch(maps_of(retinanet_golden)[:8])
