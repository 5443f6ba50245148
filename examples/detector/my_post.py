"""Post-processing of one's own, in NumPy alone: the desk and the device import this file."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deploy.runtime import Detections


def decode(
    heat: NDArray[np.float32],
    size: NDArray[np.float32],
    *,
    cell: float = 4.0,
    score: float = 0.3,
) -> Detections:
    """The boxes of one picture, in pixels of the input tensor.

    Args:
        heat: (classes, H, W): how likely the centre of an object of this class is here.
        size: (2, H, W): its width and height in cells.
        cell: pixels of the side of a cell.
        score: the least one of a detection.
    """
    around = sliding_window_view(np.pad(heat, ((0, 0), (2, 2), (2, 2))), (5, 5), (1, 2))
    label, y, x = np.nonzero((heat == around.max((3, 4))) & (heat >= score))
    order = np.argsort(-heat[label, y, x])
    label, y, x = label[order], y[order], x[order]
    centre = np.stack([x, y], 1) + 0.5
    half = size[:, y, x].T / 2
    boxes = np.hstack([centre - half, centre + half]) * cell
    return Detections(boxes.astype(np.float32), heat[label, y, x], label)
