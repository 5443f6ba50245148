"""Maps of labels are compared with the truth over all pictures, as the field does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime.accuracy.dataset import DatasetError
from deploy.tasks.classify.result import Classification
from deploy.tasks.segment.dataset import LabelMaps
from deploy.tasks.segment.result import NO_CLASS, SegmentationMap

CLASSES = ("sky", "road", "tree")


def data_set(folder: Path, *maps: np.ndarray, palette: bool = False) -> Path:
    """A data set of these maps of labels, with a black picture each."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number, labels in enumerate(maps):
        height, width = labels.shape[:2]
        Image.new("RGB", (width, height)).save(folder / "images" / f"{number}.jpg")
        picture = Image.fromarray(labels)
        if palette:
            picture.putpalette(list(range(256)) * 3)
        picture.save(folder / "labels" / f"{number}.png")
    return folder


def scores(folder: Path, *said: np.ndarray) -> dict[str, float]:
    data = LabelMaps(folder, CLASSES)
    results = [SegmentationMap(np.array(labels, np.uint16)) for labels in said]
    judged = [data.judge(number, result) for number, result in enumerate(results)]
    return dict(data.summarise([judgement for picture in judged for judgement in picture]))


def confusion_scores(truth: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Mean IoU and accuracy of flat labels by scikit-learn; 255 in the truth does not count."""
    metrics = pytest.importorskip("sklearn.metrics")
    valid = truth != 255
    truth, said = truth[valid], said[valid]
    labels = np.setdiff1d(np.concatenate([truth, said]), NO_CLASS)
    overlap = metrics.jaccard_score(truth, said, labels=labels, average="macro")
    return overlap, metrics.accuracy_score(truth, said)


@pytest.mark.parametrize("palette", [False, True])
def test_scores_are_those_of_scikit_learn(tmp_path, palette):
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 3, size).astype(np.uint8) for size in ((5, 7), (4, 4))]
    maps[0][0, :3] = 255
    said = [rng.integers(0, 3, labels.shape) for labels in maps]
    said[1][0, 0] = NO_CLASS
    found = scores(data_set(tmp_path, *maps, palette=palette), *said)
    flat = (np.concatenate([each.ravel() for each in side]) for side in (maps, said))
    assert (found["miou"], found["pixel_accuracy"]) == pytest.approx(confusion_scores(*flat))


def test_maps_of_16_bits_ignore_65535_and_not_255(tmp_path):
    truth = np.array([[1, 255, 65535]], np.uint16)
    folder = data_set(tmp_path, truth)
    data = LabelMaps(folder)
    (judged,) = data.judge(0, SegmentationMap(np.array([[1, 255, 3]], np.uint16)))
    assert data.summarise([judged]) == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_a_set_without_a_pixel_that_counts_has_scores_of_zero(tmp_path):
    folder = data_set(tmp_path, np.full((2, 2), 255, np.uint8))
    assert scores(folder, np.zeros((2, 2))) == {"miou": 0.0, "pixel_accuracy": 0.0}


def test_a_limit_takes_the_first_pictures(tmp_path):
    folder = data_set(tmp_path, *[np.zeros((2, 2), np.uint8)] * 3)
    assert [path.name for path in LabelMaps(folder, CLASSES, 2).pictures.values()] == [
        "0.jpg",
        "1.jpg",
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((2, 2), 3, np.uint8), r"expected labels below 3, .* classes, got 3"),
        (np.zeros((3, 2), np.uint8), r"expected the picture's height and width \[2, 2\], got \[3"),
        (np.zeros((2, 2, 3), np.uint8), "expected one channel of integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    with pytest.raises(DatasetError, match=message):
        scores(data_set(tmp_path, labels), np.zeros((2, 2)))


def test_a_damaged_map_is_named(tmp_path):
    folder = data_set(tmp_path, np.zeros((2, 2), np.uint8))
    (folder / "labels" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"0\.png': expected a PNG picture"):
        scores(folder, np.zeros((2, 2)))


def test_results_of_another_kind_are_refused(tmp_path):
    data = LabelMaps(data_set(tmp_path, np.zeros((2, 2), np.uint8)))
    with pytest.raises(DatasetError, match="results: expected pixels, got classes"):
        data.judge(0, Classification(np.ones(1, np.float32), np.zeros(1, np.int64)))


def test_a_folder_without_maps_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"images/NAME\.jpg and labels/NAME\.png, got none"):
        LabelMaps(tmp_path / "missing")
    with pytest.raises(DatasetError, match="got a folder without both"):
        LabelMaps(tmp_path)
    folder = data_set(tmp_path, np.zeros((2, 2), np.uint8))
    (folder / "labels" / "0.png").unlink()
    with pytest.raises(DatasetError, match=r"got no labels/0\.png \(1 are missing\)"):
        LabelMaps(folder)
    (folder / "images" / "0.jpg").unlink()
    with pytest.raises(DatasetError, match="got no pictures in images/"):
        LabelMaps(folder)
