"""A window that moves over a blob, along each axis but that of the channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from backends.ncnn.checking.blob import MOST_NUMBERS, Blob, Sizes
from backends.ncnn.checking.param import Layer

# the ids of width, height and depth in a convolution
KERNEL, _DILATION, _STRIDE = (1, 11, 21), (2, 12, 22), (3, 13, 23)


_BEFORE, _AFTER = (4, 14, 24), (15, 16, 17)


@dataclass(frozen=True)
class Axis:
    """A window along one axis."""

    kernel: int
    stride: int
    before: int
    after: int
    dilation: int = 1

    @property
    def extent(self) -> int:
        """From the first to the last place that it looks at."""
        return self.dilation * (self.kernel - 1) + 1

    def missing(self, size: int) -> int:
        """What has to be padded for as many results as the stride leaves of the size."""
        return self.extent + (size - 1) // self.stride * self.stride - size


def along(layer: Layer, ids: Sequence[int], rank: int, default: int = 0) -> list[int]:
    """A parameter for each axis, the innermost first, which is the others' default."""
    first = layer.whole(ids[0], default)
    return [first, *(layer.whole(key, first) for key in ids[1:rank])]


def axes_of(layer: Layer, rank: int) -> list[Axis]:
    """The windows of a convolution, from the outermost axis on."""
    before = along(layer, _BEFORE, rank)
    after = [layer.whole(key, pad) for key, pad in zip(_AFTER, before, strict=False)]
    lists = [
        along(layer, KERNEL, rank),
        along(layer, _STRIDE, rank, 1),
        before,
        after,
        along(layer, _DILATION, rank, 1),
    ]
    return [Axis(*numbers) for numbers in zip(*lists, strict=True)][::-1]


def pads_itself(layer: Layer, axes: Sequence[Axis]) -> bool:
    """Whether ncnn is to work out the pads; it takes all of them for that or none.

    Raises:
        EngineError: some.
    """
    pads = {pad for axis in axes for pad in (axis.before, axis.after)}
    if min(pads) < 0 and len(pads) > 1:
        raise layer.fault("pads", "sizes, or one of -233 and -234", sorted(pads))
    return min(pads) < 0


def padded(layer: Layer, axes: Sequence[Axis], blob: Blob, itself: bool) -> Sizes:
    """The sizes of all axes but the channels, with the pads, which ncnn adds in a blob of its own.

    Raises:
        EngineError: a blob that is too large, or pads for some axes where ncnn works them out.
    """
    channels, *sizes = blob.sizes
    if itself:
        missing = [axis.missing(size) for axis, size in zip(axes, sizes, strict=True)]
        if max(missing) > 0 > min(missing):
            raise layer.fault("its window", "as long as its stride", [a.extent for a in axes])
        found = [size + max(gap, 0) for size, gap in zip(sizes, missing, strict=True)]
    else:
        found = [a.before + size + a.after for a, size in zip(axes, sizes, strict=True)]
    check_room(layer, channels, found)
    return tuple(found)


def check_room(layer: Layer, channels: int, sizes: Sequence[int]) -> None:
    """Refuse what ncnn would need too much memory for in between.

    Raises:
        EngineError: it would.
    """
    if channels * prod(sizes) > MOST_NUMBERS:
        shown = " x ".join(map(str, (channels, *sizes)))
        raise layer.fault("what it pads or cuts", f"at most {MOST_NUMBERS} numbers", shown)


def steps(layer: Layer, axes: Sequence[Axis], sizes: Sizes) -> list[int]:
    """How often the window fits along each axis.

    Raises:
        EngineError: not at all.
    """
    for axis, size in zip(axes, sizes, strict=True):
        if axis.extent > size:
            raise layer.fault("its window", f"at most {size} long", axis.extent)
    return [(size - axis.extent) // axis.stride + 1 for axis, size in zip(axes, sizes, strict=True)]


def check_rank(layer: Layer, blob: Blob, rank: int) -> None:
    """Refuse what has not as many axes, and one of channels.

    Raises:
        EngineError: it has not.
    """
    if len(blob.sizes) != rank + 1:
        raise layer.fault("the rank of its bottom", str(rank + 1), list(blob.sizes))
