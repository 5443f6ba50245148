"""The external data locations of an ONNX file, read without the onnx library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.onnx.protobuf import BYTES, ByteSource, fields

_KEY = b"location"
_SMALL = 1 << 16  # bytes of a message that is searched for the key before it is parsed
_KEY_FIELD, _VALUE_FIELD = 1, 2
_TENSOR, _EXTERNAL = "tensor", 13

# message -> field -> message, for all that may contain a tensor; numbers as in onnx.proto
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: _TENSOR,
        6: "graph",
        10: _TENSOR,
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {_EXTERNAL: "entry"},
}


def external_data_locations(path: Path) -> set[bytes]:
    """Every location of external data that any tensor of the file names.

    Raises:
        WireError: the file is no protobuf message, or has a group.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        source = ByteSource(file.fileno(), path.stat().st_size)
        return set(_locations(source))


def _locations(source: ByteSource) -> Iterator[bytes]:
    pending = [("model", 0, source.size)]  # no recursion: graphs nest
    while pending:
        kind, start, end = pending.pop()
        if kind == "entry":
            yield from _value(source, start, end)
            continue
        if end - start <= _SMALL and _KEY not in source.read(start, end):
            continue
        children = _MESSAGES[kind]
        pending += [
            (children[field.number], field.body, field.end)
            for field in fields(source, start, end)
            if field.kind == BYTES and field.number in children
        ]


def _value(source: ByteSource, start: int, end: int) -> Iterator[bytes]:
    """Every value of an entry whose key is the location's."""
    parts = [
        (field.number, source.read(field.body, field.end))
        for field in fields(source, start, end)
        if field.kind == BYTES
    ]
    if (_KEY_FIELD, _KEY) in parts:
        yield from (value for number, value in parts if number == _VALUE_FIELD)
