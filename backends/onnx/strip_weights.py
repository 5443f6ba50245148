"""The bytes of an ONNX file without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from backends.onnx.protobuf import BYTES, VARINT, ByteSource, Field, delimited, fields

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_RAW = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_EXTERNAL = onnx.TensorProto.EXTERNAL_DATA_FIELD_NUMBER
_LOCATION = onnx.TensorProto.DATA_LOCATION_FIELD_NUMBER


def strip_weights(source: ByteSource, location: str, inline_bytes: int) -> bytes | None:
    """The model, in which large initializers become external data at their offsets in this file.

    Args:
        source: the file.
        location: the file's name.
        inline_bytes: the largest initializer that is kept.

    Returns:
        The model, or None unless it has exactly one graph: protobuf merges several.

    Raises:
        WireError: the file is no protobuf message, or has a group.
    """
    top = list(fields(source, 0, source.size))
    graphs = [field for field in top if field.number == _GRAPH and field.kind == BYTES]
    if len(graphs) != 1:
        return None
    (graph,) = graphs
    contents = b"".join(_graph(source, graph, location, inline_bytes))
    before, after = source.read(0, graph.start), source.read(graph.end, source.size)
    return b"".join((before, delimited(_GRAPH, contents), after))


def _graph(source: ByteSource, graph: Field, location: str, inline_bytes: int) -> Iterator[bytes]:
    copied = graph.body
    for field in fields(source, graph.body, graph.end):
        # a tensor is longer than its raw bytes, so that most are skipped unread
        long = field.end - field.body > inline_bytes
        if long and field.number == _INITIALIZER and field.kind == BYTES:
            parts = list(fields(source, field.body, field.end))
            if raw := _weight(parts, inline_bytes):
                yield source.read(copied, field.start)
                yield delimited(_INITIALIZER, _external_tensor(source, parts, raw, location))
                copied = field.end
    yield source.read(copied, graph.end)


def _weight(parts: Sequence[Field], inline_bytes: int) -> Field | None:
    """The raw bytes to strip from a tensor, if any; of several fields protobuf uses the last."""
    raws = [part for part in parts if part.number == _RAW and part.kind == BYTES]
    if not raws or raws[-1].end - raws[-1].body <= inline_bytes:
        return None
    external = any(
        part.number == _EXTERNAL or (part.number == _LOCATION and part.value) for part in parts
    )
    return None if external else raws[-1]


def _external_tensor(
    source: ByteSource, parts: Sequence[Field], raw: Field, location: str
) -> bytes:
    kept, copied = [], parts[0].start
    for part in parts:
        if (part.number, part.kind) in ((_RAW, BYTES), (_LOCATION, VARINT)):
            kept.append(source.read(copied, part.start))
            copied = part.end
    kept.append(source.read(copied, parts[-1].end))
    reference = onnx.TensorProto(
        data_location=onnx.TensorProto.EXTERNAL,
        external_data=[
            onnx.StringStringEntryProto(key="location", value=location),
            onnx.StringStringEntryProto(key="offset", value=str(raw.body)),
            onnx.StringStringEntryProto(key="length", value=str(raw.end - raw.body)),
        ],
    )
    # protobuf merges concatenated messages
    return b"".join((*kept, reference.SerializeToString()))
