"""The golden run of MMDetection: its weights come from a recipe, its numbers from a file."""

from __future__ import annotations

import json
import math
import re
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parents[2] / "data" / "mask_rcnn"
RUN = np.load(DATA / "golden.npz")
KNOWN = json.loads((DATA / "keys.json").read_text())
SIDE = 320
LEVELS = range(5)


def rpn_maps() -> dict[str, np.ndarray]:
    """What the RPN gave, named as the host step takes it."""
    return {f"{name}.{at}": RUN[f"{name}_{at}"] for name in ("rpn_cls", "rpn_reg") for at in LEVELS}


def rois() -> np.ndarray:
    """The proposals as regions."""
    return np.pad(RUN["proposals"], ((0, 0), (1, 0)))


def bbox_pred() -> np.ndarray:
    """The deltas (1000, 320); 0 where no detection could come from them."""
    deltas = np.zeros((1000, 80, 4), np.float32)
    deltas[RUN["pair_roi"], RUN["pair_class"]] = RUN["deltas"]
    return deltas.reshape(1000, -1)


def stamps() -> np.ndarray:
    """The small masks (100, 28, 28) of the detections."""
    return 1 / (1 + np.exp(-RUN["mask_logits_of_label"]))


def masks() -> np.ndarray:
    """The masks (100, 320, 320) bool in the picture."""
    return np.unpackbits(RUN["masks_packed"], axis=-1).astype(np.bool_)


def image() -> np.ndarray:
    """The golden input (1, 3, 320, 320): blocks of noise under finer noise."""
    rs = np.random.RandomState(20240607)
    blocks = rs.standard_normal((1, 3, SIDE // 32, SIDE // 32))
    big = np.repeat(np.repeat(blocks, 32, axis=2), 32, axis=3)
    return (big + 0.25 * rs.standard_normal((1, 3, SIDE, SIDE))).astype(np.float32)


@cache
def weights() -> dict[str, torch.Tensor]:
    """The golden weights: each key seeds its own generator."""
    return {
        key: torch.from_numpy(_tensor(key, shape, dtype)) for key, shape, dtype in KNOWN["keys"]
    }


def _tensor(key: str, shape: list[int], dtype: str) -> np.ndarray:
    rs = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    return np.asarray(_values(key, shape, rs), dtype)


def _values(key: str, shape: list[int], rs: np.random.RandomState):
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return 0
    if leaf == "running_var":
        return rs.uniform(0.5, 1.5, shape)
    if leaf in ("running_mean", "bias"):
        return 0.1 * rs.standard_normal(shape)
    if len(shape) == 1:
        return rs.uniform(0.5, 1.0, shape)
    fan = shape[0] if "upsample" in key else math.prod(shape[1:])
    gains = (gain for pattern, gain in KNOWN["gain"] if re.search(pattern, key))
    return rs.standard_normal(shape) * (next(gains, math.sqrt(2)) / math.sqrt(fan))
