"""Outputs of detectors, with objects at chosen places."""

from __future__ import annotations

import numpy as np


def prediction_maps(*cells: tuple[int, int]) -> list[np.ndarray]:
    """Maps of 32 x 32 pixels and two classes, of the first class in these cells of the finest."""
    maps = [np.full((1, 3 * 7, side, side), -30, np.float32) for side in (1, 2, 4)]
    for y, x in cells:
        maps[2].reshape(3, 7, 4, 4)[0, :6, y, x] = (0, 0, 0, 0, 5, 5)
    return maps


def mask_head_outputs() -> list[np.ndarray]:
    """Logits, boxes, scores and labels of three objects side by side."""
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 40, 40], [50, 0, 90, 40], [100, 0, 140, 40]], np.float32)
    logits = rng.standard_normal((3, 2, 28, 28)).astype(np.float32)
    return [logits, boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0])]
