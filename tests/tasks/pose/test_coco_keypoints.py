"""Poses against a COCO data set: the precision is that of their OKS."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.runtime.accuracy.dataset import DatasetError
from deploy.runtime.accuracy.evaluation import dataset_class
from deploy.tasks.pose.dataset import CocoKeypoints
from deploy.tasks.pose.result import Poses

SIDE = 100.0  # of every person's box


def truth(count: int, **changes: Any) -> dict[str, Any]:
    """Two pictures with a person each."""
    points = np.random.default_rng(0).uniform(10, 90, (count, 3)).round()
    points[:, 2] = 2
    people = [
        {
            **{"id": number, "image_id": number, "category_id": 1, "bbox": [10, 10, SIDE, SIDE]},
            "keypoints": (points + np.array([number, 0, 0])).ravel().tolist(),
            **changes,
        }
        for number in (1, 2)
    ]
    pictures = [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)]
    categories = [{"id": 1, "name": "person"}]
    return {"images": pictures, "annotations": people, "categories": categories}


def written(folder: Path, count: int, **changes: Any) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps(truth(count, **changes)))
    return path


def pose_of(number: int, count: int, shift: float = 0.0) -> Poses:
    keypoints = np.array(truth(count)["annotations"][number - 1]["keypoints"], np.float32)
    points = keypoints.reshape(1, count, 3) + np.array([shift, 0, 0], np.float32)
    box = np.array([[10, 10, 10 + SIDE, 10 + SIDE]], np.float32)
    return Poses(np.array([0.9], np.float32), np.array([0]), box, points)


def scores_of(path: Path, count: int, shift: float) -> dict[str, float]:
    dataset = CocoKeypoints(path, ("person",))
    judgements = [
        row for number in (1, 2) for row in dataset.judge(number, pose_of(number, count, shift))
    ]
    return {name: round(value, 6) for name, value in dataset.summarise(judgements).items()}


@pytest.mark.parametrize("count", [17, 5])
def test_the_precision_is_that_of_the_oks(count, tmp_path):
    path = written(tmp_path, count)
    assert scores_of(path, count, 0) == {"keypoint_map": 1, "keypoint_map_50": 1}
    assert scores_of(path, count, 900) == {"keypoint_map": 0, "keypoint_map_50": 0}
    # an OKS between 0.70 and 0.75 passes five of the ten bounds
    assert scores_of(path, count, 0.081 * SIDE) == {"keypoint_map": 0.5, "keypoint_map_50": 1}


def test_no_pose_is_no_precision_and_poses_have_this_data_set(tmp_path):
    dataset = CocoKeypoints(written(tmp_path, 17))
    assert dataset.summarise([]) == {"keypoint_map": 0, "keypoint_map_50": 0}
    assert dataset_class(Poses) is CocoKeypoints


def test_other_results_and_other_keypoints_are_refused(tmp_path):
    dataset = CocoKeypoints(written(tmp_path, 17))
    with pytest.raises(DatasetError, match=r"keypoints of the model: expected 17, .* got 5"):
        dataset.judge(1, pose_of(1, 5))
    with pytest.raises(DatasetError, match="label 3: expected one of the 1 categories"):
        dataset.judge(1, replace(pose_of(1, 17), labels=np.array([3])))
    assert dataset.judge(1, pose_of(1, 5).take(np.array([], int))) == []


@pytest.mark.parametrize("keypoints", [None, [], [1, 2], [1, 2, "3"], "text"])
def test_a_data_set_without_keypoints_is_refused(keypoints, tmp_path):
    with pytest.raises(DatasetError, match="expected keypoints, as many in each annotation"):
        CocoKeypoints(written(tmp_path, 17, keypoints=keypoints))
