"""COCO mean average precision of anything that finds boxes in a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deploy.recipe import RecipeError
from deploy.runtime.detections import Detections

Detect = Callable[[Path], Detections]


@dataclass(frozen=True)
class MeanPrecision:
    """Box mAP at IoU 0.5, and averaged over IoU 0.5 to 0.95."""

    at_50: float
    at_50_95: float


def mean_precision(annotations: Path, detect: Detect) -> MeanPrecision:
    """Evaluate a detector on a COCO set whose pictures lie beside its annotation file.

    Args:
        annotations: the COCO file; label ``i`` is its ``i``-th category in order of ids.
        detect: a picture's path to its detections in the picture's own pixels.

    Raises:
        RecipeError: the annotation file is missing or is not a COCO file.
    """
    truth = _load(annotations)
    results = [
        row
        for picture in truth.loadImgs(truth.getImgIds())
        for row in _rows(picture["id"], detect(annotations.parent / picture["file_name"]), truth)
    ]
    return _evaluate(truth, results) if results else MeanPrecision(0.0, 0.0)


def _load(annotations: Path) -> Any:
    try:
        with redirect_stdout(StringIO()):
            return COCO(str(annotations))
    except (OSError, json.JSONDecodeError, AssertionError, KeyError) as error:
        raise RecipeError(
            f"model.eval '{annotations}'", expected="a COCO annotation file", got=str(error)
        ) from error


def _rows(picture: int, found: Detections, truth: Any) -> list[dict[str, Any]]:
    categories = sorted(truth.getCatIds())
    return [
        {
            "image_id": picture,
            "category_id": categories[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for (x1, y1, x2, y2), score, label in zip(
            found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def _evaluate(truth: Any, results: list[dict[str, Any]]) -> MeanPrecision:
    with redirect_stdout(StringIO()):
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return MeanPrecision(at_50=float(judge.stats[1]), at_50_95=float(judge.stats[0]))
