"""Mutators of bytes, whatever they mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.fuzzing.draw import Draw

_SIZES = (1, 2, 4, 8)
_MAGIC = (0, 1, 2, 0x7F, 0x80, 0xFF, -1, -2)
_MOST = 1 << 20  # a mutant grows no larger

Mutator = Callable[[Draw, bytearray], None]


def mutated(draw: Draw, data: bytes, others: list[bytes], rounds: int = 0) -> bytes:
    """The bytes after some changes, and perhaps spliced with one of ``others``."""
    changed = bytearray(data)
    for _ in range(rounds or draw.few(6)):
        draw.one(MUTATORS)(draw, changed)
    if others and draw.maybe(0.1):
        _splice(draw, changed, draw.one(others))
    return bytes(changed[:_MOST])


def magic_integer(draw: Draw, size: int) -> bytes:
    """A number at the border of some type, or a small one, in either byte order."""
    bits = 8 * size
    border = 1 << draw.one([bits - 1, bits - 2, bits // 2, bits // 2 - 1, bits])
    value = draw.one([*_MAGIC, border, border - 1, border + 1, draw.number(0, 300)])
    return (value % (1 << bits)).to_bytes(size, draw.one(["little", "big"]))  # type: ignore[arg-type]


def _flip_bit(draw: Draw, data: bytearray) -> None:
    if data:
        data[draw.number(0, len(data) - 1)] ^= 1 << draw.number(0, 7)


def _set_byte(draw: Draw, data: bytearray) -> None:
    if data:
        data[draw.number(0, len(data) - 1)] = draw.one([0, 0xFF, 0x80, 0x7F, draw.number(0, 255)])


def _set_integer(draw: Draw, data: bytearray, aligned: bool) -> None:
    size = draw.one(_SIZES)
    if len(data) >= size:
        at = draw.number(0, len(data) - size)
        at -= at % size if aligned else 0
        data[at : at + size] = magic_integer(draw, size)


def _delete(draw: Draw, data: bytearray) -> None:
    low, high = _span(draw, data)
    del data[low:high]


def _insert(draw: Draw, data: bytearray) -> None:
    at, count = draw.number(0, len(data)), draw.few(64)
    data[at:at] = draw.one([bytes(count), b"\xff" * count, draw.chance.randbytes(count)])


def _duplicate(draw: Draw, data: bytearray) -> None:
    low, high = _span(draw, data)
    at = draw.number(0, len(data))
    if len(data) < _MOST:
        data[at:at] = data[low:high] * draw.one([1, 1, 1, draw.few(50)])


def _swap(draw: Draw, data: bytearray) -> None:
    if len(data) > 8:
        size = draw.few(len(data) // 4)
        one = draw.number(0, len(data) // 2 - size)
        two = draw.number(len(data) // 2, len(data) - size)
        data[one : one + size], data[two : two + size] = (
            data[two : two + size],
            data[one : one + size],
        )


def _overwrite(draw: Draw, data: bytearray) -> None:
    low, high = _span(draw, data)
    data[low:high] = draw.chance.randbytes(high - low)


def _truncate(draw: Draw, data: bytearray) -> None:
    del data[draw.number(0, len(data)) :]


def _splice(draw: Draw, data: bytearray, other: bytes) -> None:
    data[draw.number(0, len(data)) :] = other[draw.number(0, len(other)) :]


def _span(draw: Draw, data: bytearray) -> tuple[int, int]:
    low = draw.number(0, len(data))
    return low, min(len(data), low + draw.few(max(2, len(data) // 4)))


MUTATORS: tuple[Mutator, ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_byte,
    partial(_set_integer, aligned=True),
    partial(_set_integer, aligned=False),
    _delete,
    _insert,
    _duplicate,
    _swap,
    _overwrite,
    _truncate,
)
