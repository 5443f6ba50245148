"""The size of a blob, its axes, and the expressions over sizes that ncnn evaluates.

An expression such as ``0w,//(0h,2),-1`` is a list of terms in prefix notation; ``0w`` is the width
of the first bottom.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from backends.ncnn.checking.param import INT32, Layer

Sizes = tuple[int, ...]

MAX_ELEMENTS = 1 << 29  # of a blob: 2 GiB
MAX_RANK = 4
AXIS_LETTERS: Mapping[int, str] = {1: "w", 2: "hw", 3: "chw", 4: "cdhw"}  # ncnn's, by rank

_SIZE = re.compile(r"([0-9])([whdcn])")
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_FLOAT = re.compile(r"[+-]?[0-9]+\.[0-9]*([eE][+-]?[0-9]{1,2})?")

_INTEGER_OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "max": max,
    "min": min,
}
_BINARY = "+ - * // max min / atan2 fmod pow remainder logaddexp and or xor lshift rshift"
_UNARY = """
abs neg sign square trunc ceil floor round acos acosh asin asinh atan atanh cos cosh erf exp log
log10 reciprocal rsqrt sin sinh sqrt tan tanh
"""
_OPERANDS = {**dict.fromkeys(_BINARY.split(), 2), **dict.fromkeys(_UNARY.split(), 1)}


@dataclass(frozen=True)
class Blob:
    """What is known of a blob before the net runs.

    Attributes:
        sizes: from the outermost axis to the innermost: w; h, w; c, h, w; or c, d, h, w.
        rows: size of the batch, which ncnn keeps apart from the axes.
    """

    sizes: Sizes
    rows: int = 1

    @property
    def total(self) -> int:
        """The number of elements, in all rows."""
        return self.rows * prod(self.sizes)

    def size(self, letter: str) -> int:
        """What ncnn calls w, h, d, c or n; 1 where the blob has no such axis."""
        if letter == "n":
            return self.rows
        letters = AXIS_LETTERS[len(self.sizes)]
        return self.sizes[letters.index(letter)] if letter in letters else 1


# infers the sizes of a layer's tops from its bottoms; None for a size that only ncnn can compute
ShapeRule = Callable[[Layer, Sequence[Blob]], Sequence[Sizes | None]]


def positive_axis(layer: Layer, axis: int, rank: int) -> int:
    """An axis counted from 0.

    Raises:
        EngineError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise layer.fault("axis", f"{-rank} to {rank - 1}", axis)
    return axis % rank


def axis_or_only(layer: Layer, axis: int, rank: int) -> int:
    """As ``positive_axis``, for layers that ignore the parameter where there is one axis alone.

    Raises:
        EngineError: there is no such axis.
    """
    return 0 if rank == 1 else positive_axis(layer, axis, rank)


def evaluate_expression(
    layer: Layer, what: str, text: str, bottoms: Sequence[Blob]
) -> list[int | None]:
    """``parse_expression`` of a layer's parameter.

    Raises:
        EngineError: the expression is not valid; ``what`` says what it is for.
    """
    try:
        return parse_expression(text, bottoms)
    except ValueError as error:
        raise layer.fault(what, str(error), repr(text)) from error


def parse_expression(text: str, bottoms: Sequence[Blob]) -> list[int | None]:
    """The values of an expression's terms; None for one that needs floating point.

    Raises:
        ValueError: a term that ncnn does not know or cannot compute: it would pop operands from
            an empty stack.
    """
    stack: list[int | None] = []
    for word in reversed(re.findall(r"[^(),]+", text)):
        count = _OPERANDS.get(word, 0)
        if count > len(stack):
            raise ValueError(f"{count} operands for '{word}'")
        operands = [stack.pop() for _ in range(count)]
        value = _apply(word, operands) if count else _leaf(word, bottoms)
        if value is not None and value not in INT32:
            raise ValueError(f"32 bits for '{word}'")
        stack.append(value)
    if not stack:
        raise ValueError("at least one term")
    return stack[::-1]


def _leaf(word: str, bottoms: Sequence[Blob]) -> int | None:
    if match := _SIZE.fullmatch(word):
        if int(match[1]) >= len(bottoms):
            raise ValueError(f"a bottom for '{word}'")
        return bottoms[int(match[1])].size(match[2])
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return None
    raise ValueError(f"sizes, numbers and operators instead of '{word[:20]}'")


def _apply(word: str, operands: list[int | None]) -> int | None:
    first, second = operands[0], operands[-1]
    if first is None or second is None:
        return None
    if word in _INTEGER_OPERATORS:
        return _INTEGER_OPERATORS[word](first, second)
    if word == "//":
        if second == 0:
            raise ValueError("no division by 0")
        return abs(first) // abs(second) * (1 if (first < 0) == (second < 0) else -1)
    return None
