"""Mutators of ncnn's ``.param`` text: its numbers, words and lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated

_NUMBERS = (
    "0", "1", "-1", "2", "3", "-2", "5", "16", "64", "127", "255", "256", "1000", "65535", "65536",
    "100000", "1000000", "16777216", "1073741824", "2147483647", "-2147483648", "2147483648",
    "4294967295", "4294967296", "9223372036854775807", "-233", "233", "-23300", "1e9", "1.5",
    "-1e38", "nan", "inf", "99999999999999999999", "", "x", "%s%n", "0x10",
)  # fmt: skip
_LAYERS = (
    "Convolution", "ConvolutionDepthWise", "Deconvolution", "InnerProduct", "Pooling", "Padding",
    "Crop", "Slice", "Concat", "Reshape", "Permute", "Interp", "Gemm", "MatMul", "LSTM", "GRU",
    "RNN", "MultiHeadAttention", "LayerNorm", "GroupNorm", "BatchNorm", "InstanceNorm", "Embed",
    "MemoryData", "Split", "Noop", "Input", "Proposal", "DetectionOutput", "PriorBox",
    "Yolov3DetectionOutput", "ROIAlign", "ROIPooling", "PSROIPooling", "PixelShuffle", "Fold",
    "Unfold", "GridSample", "Einsum", "CumulativeSum", "Tile", "Reduction", "ExpandDims",
    "Squeeze", "Flatten", "Packing", "Cast", "Quantize", "Requantize", "Dequantize", "Eltwise",
    "BinaryOp", "Scale", "Bias", "PReLU", "Softmax", "Reorg", "Statistics", "ShuffleChannel",
    "SPP", "Convolution1D", "Convolution3D", "Pooling3D", "Deconvolution1D", "DeformableConv2D",
    "Spectrogram", "RotaryEmbed", "SDPA", "CopyTo", "Normalize", "MVN", "LRN", "Threshold", "Exp",
    "Log", "Power", "Dropout", "UnaryOp", "Nonsense", "74", "0", "-1",
)  # fmt: skip
_INTEGER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")

Lines = list[str]


def mutated_param(draw: Draw, text: bytes, others: list[bytes]) -> bytes:
    """A ``.param`` after some changes of its text, or of its bytes."""
    if draw.maybe(0.1):
        return mutated(draw, text, others)
    lines = text.decode(errors="replace").splitlines()
    for _ in range(1 if draw.maybe(0.5) else draw.few(4)):  # what changes little gets further
        draw.one(MUTATORS)(draw, lines)
    if draw.maybe(0.85):
        _recount(lines)
    return "\n".join([*lines, ""]).encode()


def _number(draw: Draw, lines: Lines) -> None:
    """One of the numbers of a line is another."""
    index = _line(draw, lines)
    found = list(_INTEGER.finditer(lines[index])) if lines else []
    if found:
        one = draw.one(found)
        old = int(one.group()) if one.group().lstrip("-").isdigit() else 7
        near = str(old * draw.one([2, -1, 1, 1]) + draw.one([1, -1, 0]))[:30]
        new = draw.one([*_NUMBERS, near, near, near])
        lines[index] = lines[index][: one.start()] + new + lines[index][one.end() :]


def _word(draw: Draw, lines: Lines) -> None:
    """A word goes, comes twice, or becomes another of the file."""
    index = _line(draw, lines)
    words = lines[index].split() if lines else []
    if words:
        at = draw.number(0, len(words) - 1)
        every = [word for line in lines for word in line.split()]
        words[at : at + 1] = draw.one(
            [[], [words[at]] * 2, [draw.one(every)], ["x" * draw.one([255, 256, 5000])]]
        )
        lines[index] = " ".join(words)


def _layer(draw: Draw, lines: Lines) -> None:
    """A layer is of another type, with its own parameters or without."""
    index = _line(draw, lines)
    words = lines[index].split() if lines else []
    if len(words) > 3:
        words[0] = draw.one(_LAYERS)
        if draw.maybe(0.3):
            words = [word for word in words if "=" not in word]
        lines[index] = " ".join(words)


def _parameter(draw: Draw, lines: Lines) -> None:
    """A parameter more: a number, or an array with more or fewer values than it says."""
    if lines:
        index, key = _line(draw, lines), draw.one([*range(32), -1, 32, 255, -100])
        values = ",".join(draw.one(_NUMBERS[:30]) for _ in range(draw.few(5)))
        count = draw.one(["1", "2", "5", "1000000", "-1", "2147483647"])
        text = draw.one(
            [f"{key}={draw.one(_NUMBERS)}", f"{-23300 - key}={count},{values}", f"{key}"]
        )
        lines[index] += f" {text}"


def _line_away(draw: Draw, lines: Lines) -> None:
    if lines:
        del lines[_line(draw, lines)]


def _line_twice(draw: Draw, lines: Lines) -> None:
    if lines:
        lines.insert(_line(draw, lines), lines[_line(draw, lines)])


def _lines_swapped(draw: Draw, lines: Lines) -> None:
    if lines:
        one, two = _line(draw, lines), _line(draw, lines)
        lines[one], lines[two] = lines[two], lines[one]


def _line(draw: Draw, lines: Lines) -> int:
    return draw.number(0, len(lines) - 1) if lines else 0


def _recount(lines: Lines) -> None:
    """Say how many layers and blobs there are, so that this is not what stops it."""
    if len(lines) > 2:
        blobs = {blob for line in lines[2:] for blob in line.split()[4:] if "=" not in blob}
        lines[1] = f"{len(lines) - 2} {len(blobs)}"


MUTATORS: tuple[Callable[[Draw, Lines], None], ...] = (
    _number,
    _number,
    _number,
    _number,
    _word,
    _layer,
    _layer,
    _parameter,
    _parameter,
    _line_away,
    _line_twice,
    _lines_swapped,
)
