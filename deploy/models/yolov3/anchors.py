"""Anchor sizes and strides of MMDetection's published YOLOv3 configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from backends.bounds import Between, Length

Side = Annotated[float, Between(0.01, 1_000_000)]
"""The width or height of an anchor in input pixels."""


Level = Annotated[Sequence[tuple[Side, Side]], Length(1, 100)]
"""The width and height of each anchor of a level."""


Sizes = tuple[Level, Level, Level]
"""The anchors of each level, coarsest first; as many at each."""


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
