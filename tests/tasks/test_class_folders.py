"""A folder of pictures for each class tells how often a classifier is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.runtime.accuracy.dataset import DatasetError
from deploy.tasks.classify.dataset import ClassFolders
from deploy.tasks.classify.result import Classification
from deploy.tasks.segment.result import SegmentationMap

CLASSES = tuple("abcdefg")


def folders(path: Path, counts: dict[str, int]) -> Path:
    """Empty files named as pictures: only a model would open them."""
    for name, count in counts.items():
        (path / name).mkdir(parents=True)
        for number in range(count):
            (path / name / f"{number}.jpg").touch()
        (path / name / "notes.txt").touch()
    return path


def result(scores: list[float]) -> Classification:
    return Classification(np.array(scores, np.float32), np.zeros(0, np.int64))


def test_a_folder_stands_for_the_class_of_its_name(tmp_path):
    data = ClassFolders(folders(tmp_path, {"c": 1, "a": 2}), CLASSES)
    names = [f"{path.parent.name}/{path.name}" for path in data.pictures.values()]
    assert names == ["a/0.jpg", "c/0.jpg", "a/1.jpg"], "all classes in turn"
    ranked = [data.judge(number, result([7, 6, 5, 4, 3, 2, 1])) for number in range(3)]
    assert ranked == [[0], [2], [0]]
    assert data.summarise([0, 2, 0, 5]) == {"top_1": 0.5, "top_5": 0.75}


def test_names_of_their_own_stand_for_the_classes_in_order(tmp_path):
    data = ClassFolders(folders(tmp_path, {"n02": 1, "n01": 1}), ("cat", "dog"))
    assert [data.judge(number, result([0.1, 0.9])) for number in (0, 1)] == [[1], [0]]
    assert data.pictures[0].parent.name == "n01"


def test_without_names_of_classes_folders_are_counted(tmp_path):
    assert ClassFolders(folders(tmp_path, {"y": 1, "x": 1})).judge(1, result([0.1, 0.9])) == [0]


def test_equal_scores_rank_the_lower_label_first(tmp_path):
    data = ClassFolders(folders(tmp_path, {"a": 1, "b": 1}), CLASSES)
    assert [data.judge(number, result([1.0] * 7)) for number in (0, 1)] == [[0], [1]]


def test_scores_that_are_no_numbers_are_wrong(tmp_path):
    data = ClassFolders(folders(tmp_path, {"a": 1}), CLASSES)
    assert data.judge(0, result([float("nan")] * 7)) == [7]
    assert data.judge(0, result([0.5, *[float("nan")] * 6])) == [0]


def test_a_limit_leaves_a_bit_of_each_class(tmp_path):
    data = ClassFolders(folders(tmp_path, {"a": 5, "b": 5}), CLASSES, limit=4)
    assert [path.parent.name for path in data.pictures.values()] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a": 1, "dog": 1}, "named as the 7 classes .* got 2 folders, of which 1 have another"),
        ({"dog": 1, "cat": 1}, "of which 2 have another name, such as 'cat'"),
        ({"a": 0}, "a folder of pictures for each class, got no pictures in them"),
        ({}, "got no folders"),
    ],
)
def test_folders_that_are_no_data_set_are_refused(tmp_path, names, message):
    with pytest.raises(DatasetError, match=message):
        ClassFolders(folders(tmp_path, names), CLASSES)


def test_a_file_is_no_data_set(tmp_path):
    (tmp_path / "x").touch()
    for name, got in (("x", "a file"), ("missing", "nothing")):
        with pytest.raises(DatasetError, match=f"pictures for each class, got {got}"):
            ClassFolders(tmp_path / name, CLASSES)


def test_a_class_without_a_score_is_refused(tmp_path):
    data = ClassFolders(folders(tmp_path, {"a": 1, "b": 1}))
    with pytest.raises(DatasetError, match=r"expected at most 1, .* got class number 2"):
        data.judge(1, result([0.5]))


def test_results_of_another_kind_are_refused(tmp_path):
    data = ClassFolders(folders(tmp_path, {"a": 1}))
    with pytest.raises(DatasetError, match="results: expected classes, got pixels"):
        data.judge(0, SegmentationMap(np.zeros((1, 1), np.uint16)))
