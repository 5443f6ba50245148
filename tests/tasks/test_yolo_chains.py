"""Poses, rotated boxes and masks through the pipeline: one export, two engines, three steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, output_of

NETS = """\
import torch
from torch import nn


class Spots(nn.Module):
    # boxes and more around bright spots, as YOLO's heads give them; the weights are fixed
    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 1, 8, 8)  # the brightness of each cell of 8 x 8 pixels
        nn.init.constant_(self.features.weight, 1 / 192)
        nn.init.zeros_(self.features.bias)
        self.head = Head()

    def forward(self, image):
        return self.head(self.features(image))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
        self.register_buffer("centre", torch.stack((x, y)).flatten(1)[None] * 8 + 4.0)

    def forward(self, bright):
        bright = bright.flatten(2)
        score, centre = (bright * 20 - 10).sigmoid(), self.centre + bright
        size = torch.cat((bright * 40, bright * 20), 1)
        left = torch.cat((centre - size / 4, score), 1)
        right = torch.cat((centre + size / 4, score), 1)
        box, maps = torch.cat((centre, size, score), 1), bright.unflatten(2, (12, 12)) - 0.3
        return {
            "poses": torch.cat((box, left, right), 1),
            "rotated": torch.cat((box, bright - 0.5), 1),
            "masked": torch.cat((box, score), 1),
            "prototypes": maps,
        }
"""
STEPS = {
    "poses": "{id: pose.yolo, params: {keypoints: 2}, inputs: [poses]}",
    "rotated boxes": "{id: obb.yolo, inputs: [rotated]}",
    "detections": "{id: segment.yolo, inputs: [masked, prototypes]}",
}
KEYS = {"poses": "keypoints", "rotated boxes": "corners", "detections": "mask"}


@pytest.fixture(scope="module")
def spots_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spots")
    (folder / "spots.py").write_text(NETS)
    picture = np.full((120, 160, 3), 30, np.uint8)
    for x, y in ((20, 30), (100, 40), (70, 90)):
        picture[y : y + 14, x : x + 14] = 255
    (folder / "pictures").mkdir()
    Image.fromarray(picture).save(folder / "pictures" / "one.png")
    Image.fromarray(picture[::-1].copy()).save(folder / "pictures" / "two.png")
    return folder


@pytest.mark.skipif(
    not {"onnxruntime", "openvino"} <= set(BACKENDS), reason="two engines are compared"
)
@pytest.mark.slow
@pytest.mark.parametrize("noun", STEPS)
def test_two_engines_find_what_pytorch_finds(noun, spots_folder):
    words = [
        *("deploy", "+model=module", "model.target=spots:Spots", "+pre=yolo", "bench.runs=0"),
        *("model.inputs={image: {shape: [1, 3, 96, 96]}}", "model.classes=[spot]"),
        *("model.marks={head: {module: head, at: input}}", "partition.cuts=[head]"),
        *("+backend=onnxruntime", "+backend@chain.part1=openvino"),
        *("model.samples=pictures", f"model.post={STEPS[noun]}", f"bundle={noun.split()[0]}"),
    ]
    printed = output_of(*words, cwd=spots_folder)
    manifest = read_manifest(spots_folder / noun.split()[0])
    notes = manifest.verification.notes
    assert [step.backend for step in manifest.steps] == ["onnxruntime", "openvino"]
    assert notes[noun] == notes[f"{noun}_matched"] >= 12
    assert f"{notes[noun]:.0f} of {notes[noun]:.0f} {noun} matched" in printed
    run = ("run", noun.split()[0], "pictures", "--json", "found.json", "--out", "drawn")
    output_of("deploy.runtime", *run, cwd=spots_folder)
    rows = json.loads((spots_folder / "found.json").read_text())
    assert all(KEYS[noun] in item for row in rows for item in row[noun])
    assert Image.open(spots_folder / "drawn" / "one.png").size == (160, 120)
