"""A chain is evaluated as one on a COCO set: boxes, masks, and the latency of every part."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.contract import Artifact, MissingLibraryError, TensorSpec
from deploy.runtime.__main__ import main
from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.accuracy.evaluation import evaluate
from deploy.runtime.bundle.manifest import PostStep
from deploy.runtime.execution import post_steps as posts
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from deploy.runtime.vision.image import Pre

SIDE = 40
PLACES = {1: (2, 4), 2: (10, 20), 3: (15, 6)}  # of the one thing in each picture
KINDS = [{"id": 7, "name": "odd"}, {"id": 9, "name": "even"}]


def truth(folder: Path, **changes: object) -> Path:
    """A set of three pictures, each with a white square of 12 pixels."""
    rows = []
    for number, (x, y) in PLACES.items():
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels[y : y + 12, x : x + 12] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        corners = [x, y, x + 12, y, x + 12, y + 12, x, y + 12]
        row = {"id": number, "image_id": number, "category_id": KINDS[number % 2]["id"]}
        rows.append({**row, "bbox": [x, y, 12, 12], "segmentation": [corners]})
    images = [
        {"id": n, "file_name": f"{n}.png", "height": SIDE, "width": SIDE} for n in reversed(PLACES)
    ]
    found = {"images": images, "annotations": rows, "categories": KINDS, **changes}
    path = folder / "annotations.json"
    path.write_text(json.dumps(found))
    return path


class Squares:
    """Finds what is white; every second kind is ``wrong`` ."""

    def __init__(self, wrong=False, masks=False, label=None):
        self.wrong, self.masks, self.label = wrong, masks, label

    def batch(self, tensors):
        (picture,) = tensors
        rows, columns = np.nonzero(picture[0, 0] > 0.5)
        x, y = columns.min(), rows.min()
        number = next(n for n, place in PLACES.items() if place == (x, y))
        label = number % 2 if self.label is None else self.label
        label = 0 if self.wrong else label
        box = np.array([[x, y, x + 12, y + 12]], np.float32)
        found = box, np.array([0.9], np.float32), np.array([label])
        if not self.masks:
            return [Detections(*found)]
        crop = picture[0, 0, :, : x + 8] > 0.5  # two thirds of it
        side = len(picture[0, 0])
        return [Detections(*found, Masks(side, side, np.zeros((1, 2), int), [crop]))]


@pytest.fixture
def make_squares_bundle(make_bundle, monkeypatch):
    """A bundle that passes the picture on to ``Squares`` with these parameters."""
    monkeypatch.setattr(posts, "_shipped", lambda *_: {"test.squares": Squares})

    def made(classes=("odd", "even"), **params):
        shape = (1, 3, SIDE, SIDE)
        specs = {name: (TensorSpec(name, "float32", shape),) for name in "xy"}
        step = Artifact("only", "scaler", ("only/factor.txt",), specs["x"], specs["y"])
        post = PostStep("test.squares", ("y",), params)
        pre = Pre("x", SIDE, SIDE, (0.0,) * 3, (255.0,) * 3, "rgb", 0.0)
        parts = {"inputs": specs["x"], "outputs": specs["y"], "pre": pre, "post": post}
        return make_bundle([(step, 1.0)], classes=classes, **parts)

    return made


def evaluated(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["eval", *map(str, words)])
    assert ended.value.code == 0, ended.value.code
    return capsys.readouterr().out


def assert_perfect(said: str) -> None:
    title, *rows = [line.split() for line in said.splitlines()[:3]]
    assert title == ["chain"]
    assert rows == [["boxes", "mAP@.5:.95", "1.0000"], ["boxes", "mAP@0.5", "1.0000"]]


def refusal(*words) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["eval", *map(str, words)])
    assert str(ended.value.code).startswith("error: ")
    return str(ended.value.code)


def test_boxes_and_the_latency_of_every_part_are_printed(make_squares_bundle, tmp_path, capsys):
    said = evaluated(capsys, make_squares_bundle(), truth(tmp_path))
    assert_perfect(said)
    assert "masks" not in said
    parts = [line.split()[0] for line in said.splitlines()[4:-1]]
    assert parts == ["decode", "pre", "only", "chain", "post", "total"]
    assert "per second over 3 runs" in said and "p50" in said and "p99" in said


def test_what_is_found_as_another_kind_does_not_count(make_squares_bundle, tmp_path, capsys):
    report = tmp_path / "report.json"
    evaluated(capsys, make_squares_bundle(wrong=True), truth(tmp_path), "--json", report)
    found = json.loads(report.read_text())
    assert 0 < found["scores"]["map_50"] < 0.6
    assert found["pictures"] == 3 and found["per_second"] > 0
    assert list(found["milliseconds"]["only"]) == ["min", "p50", "p90", "p99", "mean"]


def test_masks_are_evaluated_where_the_model_finds_them(make_squares_bundle, tmp_path, capsys):
    said = evaluated(capsys, make_squares_bundle(masks=True), truth(tmp_path), "--json", "-")
    found = json.loads(said)
    assert found["scores"]["map"] == found["scores"]["map_50"] == 1.0
    assert found["scores"]["mask_map_50"] == 1.0, "two thirds of each thing are an IoU of 0.67"
    assert found["scores"]["mask_map"] == pytest.approx(0.4), "thresholds from 0.5 to 0.65"


def test_masks_are_left_out_where_the_data_set_has_none(make_squares_bundle, tmp_path, capsys):
    path = truth(tmp_path)
    data = json.loads(path.read_text())
    for row in data["annotations"]:
        del row["segmentation"]
    path.write_text(json.dumps(data))
    assert "masks" not in evaluated(capsys, make_squares_bundle(masks=True), path)


def test_a_limit_takes_the_first_pictures_and_their_truth_alone(
    make_squares_bundle, tmp_path, capsys
):
    path = truth(tmp_path)
    (tmp_path / "3.png").unlink()
    said = evaluated(capsys, make_squares_bundle(), path, "--limit", 2)
    assert_perfect(said)
    assert "over 2 runs" in said


def test_a_picture_that_is_missing_is_named(make_squares_bundle, tmp_path):
    path = truth(tmp_path)
    (tmp_path / "3.png").unlink()
    assert "3.png" in refusal(make_squares_bundle(), path)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "got nothing"),
        ("{", "got JSONDecodeError"),
        ("[]", "got AssertionError"),
        ("{}", "got KeyError: 'images'"),
        ('{"images": [{"id": 1}]}', "got KeyError: 'file_name'"),
        ('{"images": [], "categories": [], "annotations": []}', "got no pictures"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused(content, got, make_squares_bundle, tmp_path):
    path = tmp_path / "annotations.json"
    if content is not None:
        path.write_text(content)
    said = refusal(make_squares_bundle(), path)
    assert "expected a COCO annotation file (images, annotations, categories)" in said
    assert got in said


def test_a_data_set_of_other_classes_is_refused(make_squares_bundle, tmp_path):
    said = refusal(make_squares_bundle(classes=("a", "b", "c")), truth(tmp_path))
    assert "categories of the data set: expected 3, one for each class (a, b, c)" in said
    assert "got 2 (odd, even)" in said


def test_a_label_without_a_category_is_refused(make_squares_bundle, tmp_path):
    said = refusal(make_squares_bundle(classes=(), label=5), truth(tmp_path))
    assert "label 5: expected one of the 2 categories of the data set" in said


def test_a_bundle_that_takes_tensors_is_refused(make_bundle, tmp_path):
    said = refusal(make_bundle(), truth(tmp_path))
    assert "cannot be evaluated: expected one that takes pictures" in said


def test_without_pycocotools_it_says_what_to_install(make_squares_bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    said = refusal(make_squares_bundle(), truth(tmp_path))
    assert "pycocotools, which computes mAP, cannot be used here" in said
    assert "pip install '.[eval]'" in said
    with pytest.raises(MissingLibraryError):
        CocoDataset(truth(tmp_path))


def test_nothing_found_is_a_precision_of_nothing(tmp_path):
    data = CocoDataset(truth(tmp_path))
    assert data.summarise([]) == {"map": 0.0, "map_50": 0.0}
    assert data.categories == ("odd", "even")


def test_the_desk_evaluates_with_the_same_code(tmp_path):
    def detect(path):
        x, y = PLACES[int(path.stem)]
        box = np.array([[x, y, x + 12, y + 12]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.array([int(path.stem) % 2]))

    assert evaluate(CocoDataset(truth(tmp_path)), detect) == {"map": 1.0, "map_50": 1.0}
