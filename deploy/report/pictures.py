"""Pictures made small, and what two models find in them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backends.contract import Array
from deploy.report.data import DetectionView, PictureView, State
from deploy.runtime.accuracy.matching import pair_detections
from deploy.runtime.vision import CONFIDENT
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import load_image
from deploy.runtime.vision.masks import Masks
from deploy.verify import MATCH_IOU

_MOST_PICTURES = 8


_LONGEST = 480  # pixels of a small picture


_QUALITY = 80  # of JPEG


_FINE = 160  # steps of a mask along the longest side of its picture


def picture_views(
    pictures: Sequence[Path],
    expected: Sequence[Detections],
    found: Sequence[Detections],
    classes: Sequence[str],
) -> tuple[PictureView, ...]:
    """The first pictures with their confident detections, matched as ``verify`` does it.

    Args:
        pictures: at least as many as there are detections.
        expected: what the reference finds in each.
        found: what the chain finds in each; nothing where it could not be asked.
        classes: names of the labels.
    """
    rows = list(zip(pictures, expected, found, strict=False))[:_MOST_PICTURES]
    return tuple(_sighting(*row, classes) for row in rows)


def _sighting(
    path: Path, expected: Detections, found: Detections, classes: Sequence[str]
) -> PictureView:
    pixels = load_image(path)
    ours, theirs = _ModelView(expected, found, classes), _ModelView(found, expected, classes)
    height, width = pixels.shape[:2]
    return PictureView(
        path.name,
        width,
        height,
        data_url(pixels),
        tuple(ours.seen("missing")),
        tuple(theirs.seen("extra")),
    )


def data_url(pixels: Array) -> str:
    """A picture (H, W, 3) uint8 as a ``data:`` address, of few bytes."""
    image = Image.fromarray(pixels)
    image.thumbnail((_LONGEST, _LONGEST))
    made = {
        "png": _encoded(image, "png", optimize=True),
        "jpeg": _encoded(image, "jpeg", quality=_QUALITY),
    }
    kind, data = min(made.items(), key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@dataclass(frozen=True)
class _ModelView:
    """What one model finds, and what the other one finds."""

    own: Detections
    other: Detections
    classes: Sequence[str]

    def seen(self, alone: State) -> Iterator[DetectionView]:
        """The confident detections; ``alone`` are those that the other model has not."""
        sure = self.own.above(CONFIDENT)
        partners = dict(pair_detections(sure, self.other, MATCH_IOU))
        for index in range(len(sure)):
            partner = partners.get(index)
            x1, y1, x2, y2 = (round(float(edge), 1) for edge in sure.boxes[index])
            yield DetectionView(
                (x1, y1, x2, y2),
                float(sure.scores[index]),
                self._name(int(sure.labels[index])),
                alone if partner is None else "matched",
                None if partner is None else float(self.other.scores[partner]),
                "" if sure.masks is None else mask_path(sure.masks, index),
            )

    def _name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)


def mask_path(masks: Masks, number: int) -> str:
    """A mask as the path of an SVG in the picture's pixels, coarse enough to be small."""
    step = max(1, round(max(masks.height, masks.width) / _FINE))
    left, top = (int(edge) for edge in masks.corners[number])
    coarse = masks.crops[number][step // 2 :: step, step // 2 :: step]
    return "".join(
        f"M{left + start * step} {top + row * step}h{(end - start) * step}v{step}"
        f"h{(start - end) * step}z"
        for row, line in enumerate(coarse)
        for start, end in _runs(line)
    )


def _runs(line: Array) -> list[tuple[int, int]]:
    """Where True begins and ends in a row of booleans."""
    edges = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
