"""The examples with a net or a file of one's own do what their READMEs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.readme_blocks import run_blocks


def found(folder: Path) -> list[dict[str, Any]]:
    """What the example's last run wrote."""
    return json.loads((folder / "found.json").read_text())


def best_classes(folder: Path) -> dict[str, str]:
    """The likeliest class of each picture, by the start of its name."""
    return {Path(row["image"]).stem: row["classes"][0]["class"] for row in found(folder)}


@pytest.mark.slow
def test_the_classifier_names_the_class_of_each_picture(examples):
    run_blocks(examples / "classifier")
    classes = best_classes(examples / "classifier")
    assert len(classes) == 6
    assert all(name.startswith(best) for name, best in classes.items()), classes


@pytest.mark.slow
def test_the_detector_with_a_function_of_ones_own_finds_blocks(examples):
    folder = examples / "detector"
    run_blocks(folder)
    rows = found(folder)
    assert len(rows) == 4
    for row in rows:
        assert row["detections"] and {box["class"] for box in row["detections"]} <= {"red", "blue"}
        for box in row["detections"]:
            assert dominant_class(folder / row["image"], box["box"]) == box["class"]
        assert (folder / row["drawing"]).is_file()
    assert read_manifest(folder / "blocks").post.params == {"score": 0.35}


def dominant_class(picture: Path, box: list[float]) -> str:
    """Whether red or blue is stronger in the middle of a box."""
    with Image.open(picture) as image:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        red, _, blue = image.convert("RGB").getpixel((int(x), int(y)))
    return "red" if red > blue else "blue"


@pytest.mark.slow
def test_the_segmenter_colours_sky_grass_and_road(examples):
    folder = examples / "segmentation"
    run_blocks(folder)
    for row in found(folder):
        areas = {part["class"]: part["share"] for part in row["pixels"]["classes"]}
        assert areas.keys() == {"sky", "grass", "road"}
        assert 0.2 < areas["sky"] < 0.7 and sum(areas.values()) == pytest.approx(1)
        with Image.open(folder / row["drawing"]) as drawn:
            assert drawn.size == (160, 160)


@pytest.mark.slow
def test_an_onnx_file_alone_names_the_colour_of_each_picture(examples):
    folder = examples / "onnx_file"
    run_blocks(folder)
    assert best_classes(folder) == {name: name for name in ("red", "green", "blue")}
    assert [step.backend for step in read_manifest(folder / "cut").steps] == ["ncnn", "onnxruntime"]
