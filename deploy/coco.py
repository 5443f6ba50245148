"""COCO mean average precision of anything that finds things in a picture, for the desk."""

from __future__ import annotations

from pathlib import Path

from deploy.recipe import RecipeError
from deploy.runtime.coco import Dataset, DatasetError, Detect, Scores


def mean_precision(annotations: Path, detect: Detect) -> Scores:
    """Evaluate the boxes of a detector, and its masks if it makes some, on a COCO set.

    Args:
        annotations: the COCO file.
        detect: a picture's path to its detections in the picture's own pixels.

    Raises:
        RecipeError: the annotation file is missing or is not a COCO file.
    """
    try:
        dataset = Dataset(annotations)
    except DatasetError as error:
        raise RecipeError(f"model.eval: {error}") from error
    rows = [
        row
        for number, path in dataset.pictures.items()
        for row in dataset.rows(number, detect(path))
    ]
    return dataset.scores(rows)
