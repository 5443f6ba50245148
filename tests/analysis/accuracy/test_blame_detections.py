"""Detections in the sample picture as a part of the metric that ranks steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from deploy.runtime.bundle.manifest import (
    PostStep,
    Verification,
)
from deploy.runtime.bundle.sample import DETECTIONS, IMAGE
from deploy.runtime.execution import post_steps as posts
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.image import Pre
from tests.helpers.blame_bundles import X, ranking, said, sealed


class Seen:
    """Two boxes, where the chain's two numbers say."""

    def batch(self, tensors):
        boxes = [[100 * place, 0, 100 * place + 10, 10] for place in tensors[0][0].tolist()]
        scores = np.array([0.9, 0.8], np.float32)
        return [Detections(np.array(boxes, np.float32), scores, np.zeros(2, np.int64))]


@pytest.fixture
def seeing(make_wrong_chain, monkeypatch):
    """A bundle that finds two things in its sample picture, when it is right."""
    monkeypatch.setattr(posts, "_shipped", lambda *_: {"test.seen": Seen})

    def made(does):
        bundle = make_wrong_chain(does, right=(0.5, 0.8, 1.0))
        Image.new("RGB", (4, 4)).save(bundle / IMAGE)
        right = Seen().batch([X * np.float32(0.4)])[0]
        (bundle / DETECTIONS).write_text(json.dumps(right.to_json()))
        pre = Pre("x", 4, 4, (0.0,) * 3, (1.0,) * 3, "rgb", 0.0)
        return sealed(bundle, pre=pre, post=PostStep("test.seen", ("y",), {}))

    return made


def test_detections_in_the_sample_picture_are_part_of_the_metric(seeing, capsys):
    text = said(capsys, seeing([0.1, 0.8, 1.0]))
    assert "and 4 of 4 detections match instead of 0 of 4" in text
    assert ranking(text)[0] == "s0"
    assert "0 of 4 detections" in text.split("(chain)")[1]


def test_the_share_of_detections_that_must_match_can_be_lowered(seeing, capsys):
    bundle, wide = seeing([0.3, 0.8, 1.0]), ("--max-rel", "1", "--cosine", "0")
    text = said(capsys, bundle, *wide)
    assert text.startswith("The chain does not agree with the reference, and segment 's0' adds")
    said(capsys, bundle, *wide, "--saved", "--min-matched", "0", code=0)


def test_the_share_that_a_bundle_was_verified_by_is_the_default(seeing, capsys):
    bundle, wide = seeing([0.3, 0.8, 1.0]), ("--max-rel", "1", "--cosine", "0")
    sealed(bundle, verification=Verification("passed", notes={"min_matched": 0.0}))
    said(capsys, bundle, *wide, code=0)
    said(capsys, bundle, *wide, "--saved", "--min-matched", "0.98")
