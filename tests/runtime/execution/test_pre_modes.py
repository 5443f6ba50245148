"""What a detector finds in a picture lies where it is, whatever its pre-processing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.vision.nms import iou
from deploy.runtime.vision.pre import Pre

SCENE = Path(__file__).parents[3] / "deploy/models/yolov3/demo/samples/scene_00.png"
SCALE, LEFT, TOP = 1.25, 60, 35
MODES = {
    "letterbox": {},
    "centred": {"align": "centre", "pad": 114 / 255},
    "stretch": {"resize": "stretch", "interpolation": "bicubic"},
    "crop": {"resize": "crop", "cover": (340, 340)},
}


@pytest.fixture(scope="module")
def known(digits_bundles) -> tuple[np.ndarray, np.ndarray]:
    """A scene in a larger picture, and where its digits are in that."""
    with Pipeline.open(next(iter(digits_bundles.values())), threads=1) as pipeline:
        boxes = pipeline(SCENE).above(0.6).boxes
    scene = Image.open(SCENE).convert("RGB")
    size = round(scene.width * SCALE), round(scene.height * SCALE)
    canvas = Image.new("RGB", (size[0] + 2 * LEFT, size[1] + 2 * TOP), (90, 90, 90))
    canvas.paste(scene.resize(size, Image.Resampling.BILINEAR), (LEFT, TOP))
    return np.asarray(canvas), boxes * np.float32(SCALE) + [LEFT, TOP, LEFT, TOP]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("portrait", [False, True])
def test_boxes_lie_on_the_digits_of_the_picture(mode, portrait, digits_bundles, known):
    picture, boxes = known
    extra = np.zeros((90, picture.shape[1], 3), np.uint8)
    picture = np.concatenate([picture, extra]) if portrait else picture
    root = next(iter(digits_bundles.values()))
    manifest = read_manifest(root)
    assert isinstance(manifest.pre, Pre)
    changed = replace(manifest, pre=replace(manifest.pre, **MODES[mode]))
    with Pipeline.of(root, changed, threads=1, trusted=True) as pipeline:
        found = pipeline(picture).above(0.3).boxes
        held = pipeline.prepare(picture)[1].in_picture()
    in_view = (boxes >= held[:2] * 2).all(1) & (boxes <= held[2:] * 2).all(1)
    best = iou(boxes[in_view], found).max(axis=1)
    assert in_view.sum() >= 3
    assert (best > 0.7).mean() >= 0.75, best
