"""The golden runs of MMDetection: their weights come from a recipe, their numbers from a file."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parents[2] / "data" / "yolov3"
BACKBONES = ("darknet53", "mobilenetv2")


def keys(backbone: str) -> dict[str, tuple[int, ...]]:
    """Name and shape of every entry of MMDetection's state dict, in its order."""
    entries = json.loads((DATA / "keys.json").read_text())[backbone]
    return {key: tuple(shape) for key, shape in entries}


def weights(backbone: str) -> dict[str, torch.Tensor]:
    """The golden weights: each key seeds its own generator."""
    variant = json.loads((DATA / "params.json").read_text())[backbone]
    return {key: _tensor(key, shape, variant) for key, shape in keys(backbone).items()}


def image(height: int = 320, width: int = 320) -> np.ndarray:
    """The golden input (1, 3, height, width): blocks of noise under finer noise."""
    rs = np.random.RandomState(20240607)
    blocks = rs.standard_normal((1, 3, height // 32, width // 32))
    big = np.repeat(np.repeat(blocks, 32, axis=2), 32, axis=3)
    return (big + 0.25 * rs.standard_normal((1, 3, height, width))).astype(np.float32)


def _tensor(key: str, shape: tuple[int, ...], variant: dict) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    rs = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    return torch.from_numpy(np.asarray(_values(key, shape, rs, variant), dtype=np.float32))


def _values(key: str, shape: tuple[int, ...], rs: np.random.RandomState, variant: dict):
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "running_mean":
        return 0.1 * rs.standard_normal(shape)
    if leaf == "running_var":
        return rs.uniform(0.5, 1.5, shape)
    if "convs_pred" in key:
        return _prediction(key, leaf, shape, rs, variant)
    if leaf == "weight" and len(shape) == 4:
        return rs.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
    if leaf == "weight":
        return rs.uniform(0.5, 1.0, shape)
    return 0.1 * rs.standard_normal(shape)


def _prediction(
    key: str, leaf: str, shape: tuple[int, ...], rs: np.random.RandomState, variant: dict
):
    if leaf == "bias":
        values = 0.1 * rs.standard_normal(shape)
        rows = values.reshape(3, 85)
        rows[:, 4] += variant["obj_bias"]
        rows[:, 5:] += variant["cls_bias"]
        return values
    level = int(key.split(".")[2])
    values = rs.standard_normal(shape) * (variant["pred_scale"][level] / math.sqrt(shape[1]))
    values.reshape(3, 85, -1)[:, 2:4] *= 0.25
    return values
