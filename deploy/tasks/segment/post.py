"""Maps of class scores to the class of each pixel of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from backends.bounds import Between
from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.runtime.vision.dense_maps import labels_in_picture, scores_in_picture
from deploy.runtime.vision.placement import Placement
from deploy.tasks.segment.result import NO_CLASS, SegmentationMap

_MOST = (1 << 16) - 1  # the largest number of uint16
_MOST_NUMBERS = 1 << 24  # of scores in the picture's size that are held at once


class Segment:
    """Class scores of a segmenter to the class of each pixel.

    One tensor: (N, C, h, w) floats, scores or logits of each class, of the input's size or coarser;
    or labels (N, h, w) or (N, 1, h, w) of integers, where the model ends in an argmax. Scores are
    what the segmenters of torchvision, MMSegmentation, SMP and transformers (SegFormer) give.

    Scores are resized to the picture's own pixels, bilinear, and the largest one wins there, as
    MMSegmentation and torchvision do it. Labels are not blended: each pixel has its cell's.

    Args:
        threshold: for one class (C = 1): a pixel belongs to class 1 from this probability on, and
            to class 0 below. The scores are logits.

    Examples:
        >>> import numpy as np
        >>> scores = np.zeros((1, 2, 2, 2), np.float32)
        >>> scores[0, 1, :, 1] = 3.0
        >>> from deploy.runtime.vision.placement import Placement
        >>> (unplaced,) = Segment().batch([scores])
        >>> unplaced.placed(Placement(1.0, 1.0, 2, 2)).labels.tolist()
        [[0, 1], [0, 1]]
    """

    result: ClassVar[type[Result]] = SegmentationMap

    def __init__(self, threshold: Annotated[float, Between(0, 1)] = 0.5) -> None:
        with np.errstate(divide="ignore"):
            self._logit = float(np.log(threshold) - np.log1p(-threshold))

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
        tensor, logit = tensors[0], self._logit
        if not is_labels:
            pictures = tensor.astype(np.float32, copy=False)
            return [UnplacedMap(likeliest(scores, logit), scores, logit) for scores in pictures]
        if len(shapes[0]) == 4 and shapes[0][1] != 1:
            raise _refusal(shapes)
        maps = tensor.reshape(shapes[0][0], *shapes[0][-2:])
        return [UnplacedMap(_known_labels(labels)) for labels in maps]


def _known_labels(labels: Array) -> Array:
    """Labels as unsigned integers; those outside of their range have no class."""
    dtype, most = (np.uint8, NO_CLASS) if labels.max(initial=0) < NO_CLASS else (np.uint16, _MOST)
    known = (labels >= 0) & (labels < most)
    return np.where(known, labels, most).astype(dtype)


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
        scores: (C, h, w) float32; None where the model gives labels.
        logit: where there is one class, a pixel belongs to it from this score on.
    """

    scores: Array | None = None
    logit: float = 0.0

    def placed(self, placement: Placement) -> SegmentationMap:
        """The class of each pixel of the picture."""
        if self.scores is None:
            return SegmentationMap(labels_in_picture(self.labels, placement, self.nothing))
        strips = [
            likeliest(scores_in_picture(self.scores, strip), self.logit)
            for strip in _strips(placement, len(self.scores))
        ]
        return SegmentationMap(np.concatenate(strips))


def likeliest(scores: Array, logit: float = 0.0) -> Array:
    """The label (h, w) of the largest score (C, h, w); a score that is no number never is.

    Args:
        scores: of each class; of one class alone, whether it is at least ``logit``.
        logit: see there.

    Examples:
        >>> likeliest(np.array([[[1.0, 0.0]], [[0.5, np.nan]]])).tolist()
        [[0, 0]]
    """
    dtype = np.uint8 if len(scores) < NO_CLASS else np.uint16
    if len(scores) == 1:
        best: Array = scores[0] >= logit
    else:
        best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=0)
    labels: Array = best.astype(dtype)
    return labels


def _strips(placement: Placement, classes: int) -> list[Placement]:
    """The picture in strips of rows, so that few scores of its size are held at once."""
    rows = max(1, _MOST_NUMBERS // max(1, classes * placement.width))
    height, width = placement.tensor_size
    return [
        replace(
            placement,
            height=min(rows, placement.height - top),
            offset_y=placement.offset_y + top * placement.scale_y,
            tensor_height=height,
            tensor_width=width,
        )
        for top in range(0, placement.height, rows)
    ]


POSTS: Mapping[str, PostFactory] = {"segment.semantic": Segment}
"""The post-processing steps by the ids that bundles name."""
