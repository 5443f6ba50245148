"""Darknet's own weights file (``yolov3.weights``) -> the state dict of ``YOLOv3``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backends.contract import Array
from deploy.export.weights import State, WeightsError

_BLOCKS = (1, 2, 8, 8, 4)  # residual blocks of each stage of DarkNet-53


_NORM = ("bias", "weight", "running_mean", "running_var")  # the order inside the file


def read_darknet(path: Path, model: nn.Module) -> State:
    """Read a Darknet weights file.

    The file is a header (three int32 version numbers and a counter) and then the float32 values
    of every convolution in the order of Darknet's ``yolov3.cfg``: the four batch-norm vectors or
    the bias, then the kernel.

    Args:
        path: the file.
        model: a ``YOLOv3`` with the DarkNet-53 backbone; gives the shapes.

    Raises:
        WeightsError: the file holds more or fewer values than the model, or the model is not
            DarkNet-53.
    """
    values = _values(path)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    keys = list(_keys(len([key for key in shapes if key.startswith("bbox_head.convs_pred")]) // 2))
    if absent := [key for key in keys if key not in shapes]:
        raise WeightsError(
            f"weights '{path}'",
            expected="a model with the darknet53 backbone",
            got=f"one without {absent[0]}",
            do="Pass model.params.backbone=darknet53.",
        )
    sizes = [shapes[key].numel() for key in keys]
    if values.size != sum(sizes):
        raise WeightsError(
            f"weights '{path}'",
            expected=f"{sum(sizes):,} values for this model",
            got=f"{values.size:,}",
            do="Check model.params (classes, width) against the file.",
        )
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return {key: _tensor(part, shapes[key]) for key, part in zip(keys, parts, strict=True)}


def _values(path: Path) -> Array:
    header = np.fromfile(path, dtype="<i4", count=3)
    if header.size < 3:
        raise WeightsError(
            f"weights '{path}'", expected="a Darknet weights file", got="a short file"
        )
    major, minor, _ = (int(number) for number in header)
    counter = 8 if major * 10 + minor >= 2 else 4  # bytes; 64 bits wide since version 0.2
    return np.fromfile(path, dtype="<f4", offset=12 + counter)


def _tensor(part: Array, shape: torch.Size) -> Tensor:
    return torch.from_numpy(part.astype(np.float32)).reshape(shape)


def _keys(levels: int) -> Iterator[str]:
    """Every key in the order of the file."""
    yield from _normed("backbone.conv1")
    for stage, blocks in enumerate(_BLOCKS, start=1):
        yield from _normed(f"backbone.conv_res_block{stage}.conv")
        for block in range(blocks):
            yield from _normed(f"backbone.conv_res_block{stage}.res{block}.conv1")
            yield from _normed(f"backbone.conv_res_block{stage}.res{block}.conv2")
    for level in range(levels):
        if level:
            yield from _normed(f"neck.conv{level}")
        for conv in range(1, 6):
            yield from _normed(f"neck.detect{level + 1}.conv{conv}")
        yield from _normed(f"bbox_head.convs_bridge.{level}")
        yield f"bbox_head.convs_pred.{level}.bias"
        yield f"bbox_head.convs_pred.{level}.weight"


def _normed(name: str) -> Iterator[str]:
    """A convolution with batch norm."""
    for leaf in _NORM:
        yield f"{name}.bn.{leaf}"
    yield f"{name}.conv.weight"
