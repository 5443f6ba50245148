"""Maps of class scores to the class of each pixel of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.runtime.vision.dense_maps import labels_in_picture, pixels_in_tensor, scores_in_picture
from deploy.runtime.vision.placement import Placement
from deploy.tasks.segment.result import NO_CLASS, SegmentationMap
from deploy.tasks.segment.yolo import YoloSegment

_EMPTY = np.zeros((0, 0), np.uint16)
_FAR = 1e30  # means of such numbers stay within float32
_MOST_NUMBERS = 1 << 24  # of scores in the picture's size that are held at once


class Segment:
    """Class scores of a segmenter to the class of each pixel.

    One tensor: (N, C, h, w) floats, a score of each class, of the input's size or coarser; or
    labels (N, h, w) or (N, 1, h, w) of integers, where the model ends in an argmax. Scores are what
    the segmenters of torchvision, MMSegmentation, SMP and transformers (SegFormer) give.

    Scores are resized to the picture's own pixels, bilinear, and the largest one wins there, as
    MMSegmentation and torchvision do it. Labels are not blended: each pixel has its cell's. Pixels
    that a cropped tensor does not have get no class. At most 64 MiB of scores of the picture's size
    are held at once, and a few temporaries as large.

    Formula:
        1. The tensor is scores (1, C, h, w), or labels of integers (1, h, w) or (1, 1, h, w), over
           the whole input tensor of H x W pixels.
        2. The pixel in column x and row y of the picture is at X = ((x + 0.5) * scaled_width /
           width + left) * w / W of the map, likewise Y.
        3. Scores: interpolate linearly at column clip(X - 0.5, 0, w - 1), likewise in y, for each
           class. The label is the class with the largest one, the first of equal ones. Of one class
           alone it is 1 where the score is at least ``threshold`` (where ``scores`` is logits: at
           least ln(``threshold`` / (1 - ``threshold``))), else 0.
        4. Labels: the pixel has the label of the cell in column floor(X) and row floor(Y). One that
           is ``ignore``, negative or above 65534 is no class, 65535.
        5. A pixel that lies outside of the input tensor has no class, 65535.

    Args:
        scores: of one class (C = 1) alone: logits or probabilities.
        threshold: of one class: a pixel belongs to class 1 from this probability on, and to class 0
            below.
        ignore: a label that stands for no class, such as 255.

    Examples:
        >>> import numpy as np
        >>> from deploy.runtime.vision.placement import Placement
        >>> scores = np.zeros((1, 2, 2, 2), np.float32)
        >>> scores[0, 1, :, 1] = 3.0
        >>> (unplaced,) = Segment().batch([scores])
        >>> unplaced.placed(Placement(1.0, 1.0, 2, 2)).labels.tolist()
        [[0, 1], [0, 1]]
    """

    result: ClassVar[type[Result]] = SegmentationMap

    def __init__(
        self,
        scores: Literal["logits", "probabilities"] = "logits",
        threshold: Annotated[float, Between(0, 1)] = 0.5,
        ignore: Annotated[int, Between(0, NO_CLASS)] | None = None,
    ) -> None:
        self._ignore = ignore
        if scores == "probabilities":
            self._least = threshold
            return
        with np.errstate(divide="ignore"):
            self._least = float(np.log(threshold) - np.log1p(-threshold))

    def batch(self, tensors: Sequence[Array]) -> list[UnplacedMap]:
        """The map of each picture of a batch.

        Raises:
            TensorError: other shapes or dtypes.
        """
        shapes = [tensor.shape for tensor in tensors]
        is_labels = len(tensors) == 1 and tensors[0].dtype.kind in "iub"
        ranks = (3, 4) if is_labels else (4,)
        if len(shapes) != 1 or len(shapes[0]) not in ranks or 0 in shapes[0][1:]:
            raise _refusal(shapes)
        if not is_labels:
            scores = _finite(tensors[0].astype(np.float32))
            return [UnplacedMap(_EMPTY, picture, self._least) for picture in scores]
        if len(shapes[0]) == 4 and shapes[0][1] != 1:
            raise _refusal(shapes)
        labels = tensors[0].reshape(shapes[0][0], *shapes[0][-2:])
        known = (labels >= 0) & (labels < NO_CLASS)
        if self._ignore is not None:
            known &= labels != self._ignore
        return [UnplacedMap(each) for each in np.where(known, labels, NO_CLASS).astype(np.uint16)]


def _finite(scores: Array) -> Array:
    """Finite scores, of which a mean is finite too; what is no number is the least of all."""
    finite: Array = np.nan_to_num(scores, copy=False, nan=-_FAR, posinf=_FAR, neginf=-_FAR)
    return finite.clip(-_FAR, _FAR, out=finite)


def _refusal(shapes: Sequence[tuple[int, ...]]) -> TensorError:
    return TensorError(
        "scores of pixels",
        expected="one tensor of scores [N, classes, h, w], or of integer labels [N, h, w]",
        got=", ".join(str(list(shape)) for shape in shapes) or "none",
    )


@dataclass(frozen=True)
class UnplacedMap(SegmentationMap):
    """What the model gives for one picture, in its own grid.

    Attributes:
        labels: in that grid; empty where the model gives scores.
        scores: (C, h, w) float32; None where the model gives labels.
        least: of one class alone, a pixel belongs to it from this score on.
    """

    scores: Array | None = None
    least: float = 0.0

    def placed(self, placement: Placement) -> SegmentationMap:
        """The class of each pixel of the picture."""
        if self.scores is None:
            return SegmentationMap(labels_in_picture(self.labels, placement, NO_CLASS))
        strips = [
            likeliest(scores_in_picture(self.scores, strip), self.least)
            for strip in _strips(placement, len(self.scores))
        ]
        labels = np.concatenate(strips)
        rows, columns = pixels_in_tensor(placement)
        labels[~rows] = NO_CLASS
        labels[:, ~columns] = NO_CLASS
        return SegmentationMap(labels)


def likeliest(scores: Array, least: float = 0.0) -> Array:
    """The label (h, w) uint16 of the largest score (C, h, w).

    Args:
        scores: finite, of each class; of one class alone, label 1 is where it is ``least`` or more.
        least: see there.

    Examples:
        >>> likeliest(np.array([[[1.0, 0.0]], [[0.5, 2.0]]])).tolist()
        [[0, 1]]
    """
    best: Array = scores[0] >= least if len(scores) == 1 else scores.argmax(axis=0)
    labels: Array = best.astype(np.uint16)
    return labels


def _strips(placement: Placement, classes: int) -> list[Placement]:
    """The picture in strips of rows, so that few scores of its size are held at once."""
    rows = max(1, _MOST_NUMBERS // max(1, classes * placement.width))
    height, width = placement.height, placement.width
    return [
        placement.window(0, top, width, min(top + rows, height)) for top in range(0, height, rows)
    ]


POSTS: Mapping[str, PostFactory] = {"segment.semantic": Segment, "segment.yolo": YoloSegment}
"""The post-processing steps by the ids that bundles name."""
