"""COCO mean average precision of poses, by the OKS of their keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from deploy.runtime.accuracy.coco import CocoDataset, Row
from deploy.runtime.accuracy.dataset import Dataset, DatasetError, Scores, wrong_kind
from deploy.runtime.results.result import Result
from deploy.tasks.pose.result import Poses
from deploy.tasks.pose.similarity import sigmas_of


class CocoKeypoints(CocoDataset):
    """A COCO data set of keypoints whose pictures lie beside its annotation file.

    COCO's deviations hold for 17 keypoints, and 0.05 for each of another number. A judgement is a
    pose.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "keypoint_map": "keypoints mAP@.5:.95",
        "keypoint_map_50": "keypoints mAP@0.5",
    }

    def __init__(self, path: Path, classes: Sequence[str] = (), limit: int | None = None) -> None:
        """As of ``Dataset``; the path is the annotation file."""
        super().__init__(path, classes, limit)
        objects = self._truth.dataset["annotations"]
        counts = {_count(row) for row in objects}
        if len(counts) != 1 or None in counts:
            raise DatasetError(
                f"data set '{path}'",
                expected="keypoints, as many in each annotation: 3 numbers for each",
                got="none, or others",
            )
        (self._count,) = counts
        for row in objects:
            row.setdefault("num_keypoints", sum(seen > 0 for seen in row["keypoints"][2::3]))

    def judge(self, picture: int, result: Result) -> list[Row]:
        """The poses in a picture."""
        if not isinstance(result, Poses):
            raise wrong_kind(Poses, result)
        if len(result) and result.keypoints.shape[1] != self._count:
            raise DatasetError(
                "keypoints of the model",
                expected=f"{self._count}, as the data set has",
                got=str(result.keypoints.shape[1]),
            )
        rows = zip(result.labels.tolist(), result.scores.tolist(), result.keypoints, strict=True)
        return [
            {
                "image_id": picture,
                "category_id": self._id(label),
                "score": score,
                "keypoints": points.ravel().tolist(),
            }
            for label, score, points in rows
        ]

    def summarise(self, judgements: Sequence[Row]) -> Scores:
        """The mean average precision of keypoints."""
        sigmas = sigmas_of(self._count or 0)
        return self._precision("keypoint_map", judgements, "keypoints", kpt_oks_sigmas=sigmas)


def _count(row: Row) -> int | None:
    """How many keypoints an annotation has; None where they are no triples of numbers."""
    points = row.get("keypoints")
    is_list = isinstance(points, list) and all(type(value) in (int, float) for value in points)
    return len(points) // 3 if is_list and points and len(points) % 3 == 0 else None


DATASETS: Mapping[type[Result], type[Dataset]] = {Poses: CocoKeypoints}
"""The data sets by the class of the results that they judge."""
