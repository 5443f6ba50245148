"""Protobuf's wire format: the positions of a message's fields in a file, without their values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

VARINT, BYTES, _GROUP, _GROUP_END = 0, 2, 3, 4
_FIXED = {1: 8, 5: 4}
_WINDOW = 8192  # bytes of a read: many small fields, and little of a skipped weight
_MAX_NUMBER = 1 << 29


class WireError(ValueError):
    """Bytes that are not a protobuf message."""


class GroupError(WireError):
    """A group: a field whose length is not stored."""


class Field(NamedTuple):
    """A field of a message, as offsets in the file.

    Attributes:
        number: as in the ``.proto`` file.
        kind: the wire type.
        value: of a varint; 0 for every other kind.
        start: of the tag.
        body: of the contents.
        end: where the next field starts.
    """

    number: int
    kind: int
    value: int
    start: int
    body: int
    end: int


class ByteSource:
    """An open file's bytes, in small reads.

    Not a memory map: its pages count as memory of the process, and the process is killed when
    another one truncates the file.
    """

    def __init__(self, file: int, size: int) -> None:
        self.size = size
        self._file = file
        self._low = 0
        self._window = b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``.

        Raises:
            WireError: the file has fewer bytes.
        """
        if self._low <= start and end <= self._low + len(self._window):
            return self._window[start - self._low : end - self._low]
        parts = []
        while start < end:
            part = os.pread(self._file, end - start, start)
            if not part:
                raise WireError(f"the file ends at byte {start}")
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at offset ``at``, and the offset of its end.

        Raises:
            WireError: it does not end before ``end``, or is longer than ten bytes.
        """
        value = shift = 0
        while at < end and shift < 70:
            # inline, since this runs for each byte
            index = at - self._low
            if not 0 <= index < len(self._window):
                self._window = self.read(at, min(at + _WINDOW, self.size))
                self._low, index = at, 0
            byte = self._window[index]
            at += 1
            if byte < 0x80:
                return value | byte << shift, at
            value |= (byte & 0x7F) << shift
            shift += 7
        raise WireError(f"a number does not end at byte {at}")


def fields(source: ByteSource, start: int, end: int) -> Iterator[Field]:
    """The fields of the message from ``start`` to ``end``, in order.

    Raises:
        GroupError: the message has a group.
        WireError: the bytes are not a message.
    """
    while start < end:
        tag, body = source.varint(start, end)
        number, kind = tag >> 3, tag & 7
        value, stop = 0, body
        if kind == BYTES:
            size, body = source.varint(body, end)
            stop = body + size
        elif kind == VARINT:
            value, stop = source.varint(body, end)
        elif kind in _FIXED:
            stop += _FIXED[kind]
        elif kind in (_GROUP, _GROUP_END):
            raise GroupError(f"a group at byte {start}")
        else:
            raise WireError(f"no field at byte {start}")
        if not 0 < number < _MAX_NUMBER or stop > end:
            raise WireError(f"no field at byte {start}, or it is cut off")
        yield Field(number, kind, value, start, body, stop)
        start = stop


def varint(value: int) -> bytes:
    """A number in wire format."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(number: int, contents: bytes) -> bytes:
    """A field of bytes, text or a message, in wire format."""
    return varint(number << 3 | BYTES) + varint(len(contents)) + contents
