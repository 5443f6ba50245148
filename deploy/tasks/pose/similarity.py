"""Object keypoint similarity (OKS), the measure of COCO's keypoint task."""

from __future__ import annotations

import numpy as np

from backends.contract import Array

_NOSE, _EYE, _EAR, _SHOULDER, _ELBOW, _WRIST = 0.026, 0.025, 0.035, 0.079, 0.072, 0.062
_HIP, _KNEE, _ANKLE = 0.107, 0.087, 0.089
_PAIRS = (_EYE, _EAR, _SHOULDER, _ELBOW, _WRIST, _HIP, _KNEE, _ANKLE)  # left and right


COCO_SIGMAS = np.array([_NOSE, *np.repeat(_PAIRS, 2)])
"""How exactly people place each of COCO's 17 keypoints: a deviation over the object's size."""


UNIFORM_SIGMA = 0.05
"""The deviation of other keypoints: between COCO's eyes (0.025) and hips (0.107)."""


def sigmas_of(count: int) -> Array:
    """The deviation (count,) of each keypoint of an object with so many.

    Examples:
        >>> sigmas_of(3).tolist()
        [0.05, 0.05, 0.05]
    """
    return COCO_SIGMAS if count == len(COCO_SIGMAS) else np.full(count, UNIFORM_SIGMA)


def similarity(points: Array, others: Array, area: float) -> Array:
    """How near each keypoint of other objects is to that of one object: 1 at no distance.

    ``exp(-d**2 / (2 * area * (2 * sigma)**2))``; COCO's OKS is the mean over the labelled ones.

    Args:
        points: (K, 2) x and y of one object.
        others: (n, K, 2) of others.
        area: of the object, in square pixels.

    Returns:
        (n, K) from 0 to 1.

    Examples:
        >>> similarity(np.array([[5.0, 5.0]]), np.array([[[5.0, 5.0]], [[8.0, 9.0]]]), 2500.0)
        array([[1.        ],
               [0.60653066]])
    """
    offsets = points.astype(np.float64) - others
    variances = (2 * sigmas_of(len(points))) ** 2
    share = (offsets**2).sum(axis=-1) / variances / (area + np.spacing(1)) / 2
    near: Array = np.exp(-share)
    return near
