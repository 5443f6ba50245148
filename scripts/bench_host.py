"""Mask R-CNN's host steps beside the plain way of doing the same in PyTorch on a CPU.

``scripts/bench host``. The plain way is MMDetection's (3.3), written down anew in
``tests/models/mask_rcnn/plain.py``. Both work on one picture of 1333 x 800 in one process; torch
has two threads, and then one. The results of both are compared too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_rounds import paired, quartiles, spread

from backends.contract import Array
from deploy.models.mask_rcnn.host import Proposals
from deploy.models.mask_rcnn.post import paste_masks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.models.mask_rcnn.plain import (
    IOU_THR,
    detections,
    plain_nms,
    plain_paste,
    plain_proposals,
    rpn_maps,
)

SIZE = (800, 1333)  # of the picture: height, width
MASKS = 100
THREADS = (2, 1)  # of torch
ENOUGH = 5  # times as fast as the plain way
HEAD = (
    "| what | threads of torch | host step, ms | plain, ms | times as fast | | results |\n"
    "|---|---|---|---|---|---|---|"
)

Nms = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Pair:
    """One thing done in two ways, and what says how far their results are apart."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    apart: Callable[[Any, Any], str]


def main() -> None:
    """Measure and print a table."""
    suppressions = dict(_suppressions())
    if len(suppressions) == 1:
        print("> torchvision is not installed: its suppression in C++ is not measured.\n")
    print(HEAD)
    for pair in (*_proposals(suppressions), *_masks()):
        for threads in THREADS:
            torch.set_num_threads(threads)
            print(row(pair, threads), flush=True)


def row(pair: Pair, threads: int) -> str:
    """Compare and measure both ways: a line of the table."""
    apart = pair.apart(pair.ours(), pair.plain())
    ours, plain = paired(pair.ours, pair.plain).T
    times = quartiles(plain / ours)
    return (
        f"| {pair.name} | {threads} "
        f"| {spread(quartiles(ours), 1e3, 1)} | {spread(quartiles(plain), 1e3, 1)} "
        f"| {spread(times, 1, 1)} | {'kept' if times[1] >= ENOUGH else 'missed'} | {apart} |"
    )


def _suppressions() -> Iterator[tuple[str, Nms]]:
    """The plain way's own; and one in C++, as MMDetection has it of mmcv."""
    yield "suppression in PyTorch", plain_nms
    if find_spec("torchvision"):
        from torchvision.ops import nms

        yield "torchvision's suppression", partial(nms, iou_threshold=IOU_THR)


def _proposals(suppressions: dict[str, Nms]) -> Iterator[Pair]:
    step = Proposals(*SIZE)
    for kind in ("objects", "noise"):
        logits, deltas = rpn_maps(kind, *SIZE)
        ours = partial(step.select, logits, deltas)
        for name, nms in suppressions.items():
            plain = partial(plain_proposals, logits, deltas, *SIZE, nms)
            yield Pair(f"proposals, maps of {kind}, {name}", ours, plain, _boxes_apart)


def _boxes_apart(ours: tuple[Array, Array], plain: tuple[Array, Array]) -> str:
    if len(ours[0]) != len(plain[0]):
        return f"{len(ours[0])} and {len(plain[0])} regions"
    boxes, scores = (np.abs(one - other).max() for one, other in zip(ours, plain, strict=True))
    return f"{len(ours[0])} regions: boxes within {boxes:.0e} pixels, scores within {scores:.0e}"


def _masks() -> Iterator[Pair]:
    stamps, boxes = detections(MASKS, *SIZE)
    crops = partial(paste_masks, stamps, boxes, *SIZE)
    whole = partial(plain_paste, stamps, boxes, *SIZE)
    yield Pair(f"{MASKS} masks, whole", lambda: crops().dense(), whole, _masks_apart)
    yield Pair(
        f"{MASKS} masks, as crops",
        crops,
        whole,
        lambda ours, plain: _masks_apart(ours.dense(), plain),
    )


def _masks_apart(ours: Array, plain: Array) -> str:
    shared, either = (np.sum(both, axis=(1, 2)) for both in (ours & plain, ours | plain))
    iou = shared / np.maximum(either, 1)
    return f"IoU from {iou.min():.6f} up; differing pixels: {np.sum(ours != plain)}"


if __name__ == "__main__":
    main()
