"""COCO mean average precision of detections: of boxes, and of masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from backends.contract import Array, MissingLibraryError, install_hint
from backends.files import not_regular
from deploy.runtime.accuracy.dataset import Dataset, DatasetError, Scores, wrong_kind
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result

Row = dict[str, Any]
"""A detection in COCO's result format."""


class CocoDataset(Dataset):
    """A COCO data set whose pictures lie beside its annotation file.

    Label ``i`` is its ``i``-th category in order of ids. A judgement is a detection.

    Attributes:
        categories: the name of each label.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "map": "boxes mAP@.5:.95",
        "mask_map": "masks mAP@.5:.95",
        "map_50": "boxes mAP@0.5",
        "mask_map_50": "masks mAP@0.5",
    }

    def __init__(self, path: Path, classes: Sequence[str] = (), limit: int | None = None) -> None:
        """As of ``Dataset``; the path is the annotation file."""
        coco, _, _ = _library()
        self._truth = _load(path, coco)
        chosen = sorted(self._truth.getImgIds())[:limit]
        if not chosen:
            raise _no_dataset(path, "no pictures")
        self.pictures = {
            picture["id"]: path.parent / picture["file_name"]
            for picture in self._truth.loadImgs(chosen)
        }
        categories = self._truth.loadCats(sorted(self._truth.getCatIds()))
        self._ids = [category["id"] for category in categories]
        self.categories = tuple(str(category["name"]) for category in categories)
        self._check_classes(classes)

    def _check_classes(self, classes: Sequence[str]) -> None:
        if classes and len(classes) != len(self.categories):
            raise DatasetError(
                "categories of the data set",
                expected=f"{len(classes)}, one for each class ({_some(classes)})",
                got=f"{len(self.categories)} ({_some(self.categories)})",
                do="Pass a data set of the classes that the model was trained on.",
            )

    def judge(self, picture: int, result: Result) -> list[Row]:
        """The detections in a picture; masks become run lengths."""
        if not isinstance(result, Detections):
            raise wrong_kind(Detections, result)
        return list(self._rows(picture, result))

    def summarise(self, judgements: Sequence[Row]) -> Scores:
        """The mean average precision of boxes, and of masks where both sides have them."""
        scores = self._precision("map", judgements, "bbox")
        if any("segmentation" in row for row in judgements) and self._has_masks():
            scores |= self._precision("mask_map", judgements, "segm")
        return scores

    def _rows(self, picture: int, detections: Detections) -> Iterator[Row]:
        columns = (detections.boxes, detections.scores, detections.labels)
        for number, ((x1, y1, x2, y2), score, label) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            row = {"image_id": picture, "category_id": self._id(label), "score": score}
            row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            if detections.masks is not None:
                row["segmentation"] = _run_lengths(detections.masks[number])
            yield row

    def _id(self, label: int) -> int:
        if not 0 <= label < len(self._ids):
            raise DatasetError(
                f"label {label}",
                expected=f"one of the {len(self._ids)} categories of the data set",
                got="none",
            )
        return int(self._ids[label])

    def _has_masks(self) -> bool:
        return all(truth.get("segmentation") for truth in self._truth.dataset["annotations"])

    def _precision(
        self, name: str, rows: Sequence[Row], iou_type: str, **params: Any
    ) -> dict[str, float]:
        """At IoU 0.5 to 0.95, and at 0.5; ``params`` are further ones of pycocotools."""
        if not rows:
            return {name: 0.0, f"{name}_50": 0.0}
        _, coco_eval, _ = _library()
        with redirect_stdout(StringIO()):
            results = self._truth.loadRes([dict(row) for row in rows])  # it changes its argument
            evaluation = coco_eval(self._truth, results, iou_type)
            evaluation.params.imgIds = list(self.pictures)
            vars(evaluation.params).update(params)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {name: float(evaluation.stats[0]), f"{name}_50": float(evaluation.stats[1])}


def _load(annotations: Path, coco: Any) -> Any:
    if got := not_regular(annotations):
        raise _no_dataset(annotations, got)
    try:
        with redirect_stdout(StringIO()):
            truth = coco(str(annotations))
            _fill_in_defaults(truth.dataset)
    except (OSError, ValueError, AssertionError, LookupError, TypeError, AttributeError) as error:
        raise _no_dataset(annotations, f"{type(error).__name__}: {error}") from error
    return truth


def _fill_in_defaults(dataset: Row) -> None:
    """Read every required field, so that a missing one shows; the optional ones get a default."""
    for picture in dataset["images"]:
        picture["file_name"].lower()
    for category in dataset["categories"]:
        category.setdefault("name", str(category["id"]))
    for row in dataset["annotations"]:
        row.setdefault("area", row["bbox"][2] * row["bbox"][3])
        row.setdefault("iscrowd", 0)


def _no_dataset(annotations: Path, got: str) -> DatasetError:
    return DatasetError(
        f"data set '{annotations}'",
        expected="a COCO annotation file (images, annotations, categories)",
        got=got,
    )


def _run_lengths(mask: Array) -> Row:
    _, _, masks = _library()
    lengths: Row = masks.encode(np.asfortranarray(mask, dtype=np.uint8))
    return lengths


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _library() -> tuple[Any, Any, Any]:
    """The data set class of pycocotools, its evaluation class, and its module for masks."""
    try:
        from pycocotools import mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingLibraryError(
            f"pycocotools, which computes mAP, cannot be used here: {error}",
            do=install_hint("eval"),
        ) from error
    return COCO, COCOeval, mask
