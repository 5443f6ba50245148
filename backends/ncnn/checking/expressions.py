"""ncnn's expressions for sizes, such as ``0w,//(0h,2),-1``: a list of terms in prefix order."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

from backends.ncnn.checking.blob import Blob
from backends.ncnn.checking.param import INTS

_SIZE = re.compile(r"([0-9])([whdcn])")


_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


_FLOAT = re.compile(r"[+-]?[0-9]+\.[0-9]*([eE][+-]?[0-9]{1,2})?")


_EXACT: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "max": max,
    "min": min,
}


_TWO = "+ - * // max min / atan2 fmod pow remainder logaddexp and or xor lshift rshift"


_ONE = """
abs neg sign square trunc ceil floor round acos acosh asin asinh atan atanh cos cosh erf exp log
log10 reciprocal rsqrt sin sinh sqrt tan tanh
"""


_TAKEN = {**dict.fromkeys(_TWO.split(), 2), **dict.fromkeys(_ONE.split(), 1)}


def evaluate(text: str, blobs: Sequence[Blob]) -> list[int | None]:
    """The terms' values; None for one that takes floats to compute.

    Raises:
        ValueError: a term that ncnn does not know or cannot compute: it would take operands from
            an empty stack.
    """
    stack: list[int | None] = []
    for word in reversed(re.findall(r"[^(),]+", text)):
        taken = _TAKEN.get(word, 0)
        if taken > len(stack):
            raise ValueError(f"{taken} operands for '{word}'")
        operands = [stack.pop() for _ in range(taken)]
        value = _apply(word, operands) if taken else _leaf(word, blobs)
        if value is not None and value not in INTS:
            raise ValueError(f"32 bits for '{word}'")
        stack.append(value)
    if not stack:
        raise ValueError("at least one term")
    return stack[::-1]


def _leaf(word: str, blobs: Sequence[Blob]) -> int | None:
    if match := _SIZE.fullmatch(word):
        if int(match[1]) >= len(blobs):
            raise ValueError(f"a bottom for '{word}'")
        return blobs[int(match[1])].size(match[2])
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return None
    raise ValueError(f"sizes, numbers and operators instead of '{word[:20]}'")


def _apply(word: str, operands: list[int | None]) -> int | None:
    first, second = operands[0], operands[-1]
    if first is None or second is None:
        return None
    if word in _EXACT:
        return _EXACT[word](first, second)
    if word == "//":
        if second == 0:
            raise ValueError("no division by 0")
        return abs(first) // abs(second) * (1 if (first < 0) == (second < 0) else -1)
    return None
