"""Anchor sizes and strides of MMDetection's published YOLOv3 configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Sizes = Sequence[Sequence[tuple[int, int]]]
"""Per level, per anchor: width and height in input pixels."""


STRIDES = (32, 16, 8)
"""Input pixels per cell of each level, coarsest first."""


ANCHORS: Mapping[str, Sizes] = {
    "darknet53": (
        ((116, 90), (156, 198), (373, 326)),
        ((30, 61), (62, 45), (59, 119)),
        ((10, 13), (16, 30), (33, 23)),
    ),
    "mobilenetv2": (
        ((220, 125), (128, 222), (264, 266)),
        ((35, 87), (102, 96), (60, 170)),
        ((10, 15), (24, 36), (72, 42)),
    ),
}
