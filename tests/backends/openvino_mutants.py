"""What a stranger might make of an IR: numbers, words and whole lines are others."""

from __future__ import annotations

import random
import re

_VALUE = re.compile(rb'"([^"]*)"|>(\d+)<')
_ODD = [b"-1", b"0", b"1", b"2", b"7", b"255", b"65536", b"2147483647", b"4294967296"]
_ODD += [b"-9223372036854775808", b"1e38", b"nan", b"", b"true", b"0,0,0", b"-1,-1", b"1,1,1,1,1"]
_ODD += [b"f16", b"i64", b"boolean", b"u8", b"dynamic", b"same_upper", b"floor", b"9999999999999"]


def mutated(number: int, text: bytes, weights: bytes) -> tuple[bytes, bytes]:
    """The same number gives the same mutant of an ``.xml`` and its ``.bin``."""
    rng = random.Random(number)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        text = rng.choice([_value, _value, _value, _swapped, _line, _flipped])(rng, text)
    if rng.random() < 0.2 and weights:
        at = rng.randrange(len(weights))
        weights = rng.choice([weights[:at], weights[:at] + bytes([rng.randrange(256)] * 8)])
    return text, weights


def _value(rng: random.Random, text: bytes) -> bytes:
    found = rng.choice(list(_VALUE.finditer(text)))
    group = 1 if found[1] is not None else 2
    return text[: found.start(group)] + rng.choice(_ODD) + text[found.end(group) :]


def _swapped(rng: random.Random, text: bytes) -> bytes:
    one, other = (rng.choice(list(_VALUE.finditer(text))) for _ in range(2))
    group, source = (1 if found[1] is not None else 2 for found in (one, other))
    return text[: one.start(group)] + other[source] + text[one.end(group) :]


def _line(rng: random.Random, text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    if rng.random() < 0.5:
        del lines[at]
    else:
        lines.insert(rng.randrange(len(lines)), lines[at])
    return b"".join(lines)


def _flipped(rng: random.Random, text: bytes) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
