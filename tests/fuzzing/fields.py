"""The fields of protobuf messages, set to what they should not be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated
from tests.fuzzing.paths import bad_path

_F = FieldDescriptor
_INTEGERS = {
    _F.CPPTYPE_INT32: (32, True),
    _F.CPPTYPE_INT64: (64, True),
    _F.CPPTYPE_UINT32: (32, False),
    _F.CPPTYPE_UINT64: (64, False),
}
_FLOATS = (0.0, -1.0, 1e38, float("nan"), float("inf"), 1e-45)
_TEXTS = ("", "x", "\0", "w", "y", "../x", "a" * 5000, "é", "ai.onnx.ml", "com.microsoft", "")
_EMPTY: dict[int, Any] = {_F.CPPTYPE_STRING: ""}


def messages(message: Message) -> Iterator[Message]:
    """A message and every one in it, without recursion."""
    waiting: list[Message] = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, found in one.ListFields():
            if field.cpp_type == _F.CPPTYPE_MESSAGE:
                waiting += list(found) if _repeated(field) else [found]


def set_field(draw: Draw, message: Message, field: FieldDescriptor) -> None:
    """Give a field, or one value of it, another value that its type can hold."""
    held = getattr(message, field.name)
    if field.cpp_type == _F.CPPTYPE_MESSAGE:
        _set_messages(draw, message, field, held)
    elif not _repeated(field):
        setattr(message, field.name, _scalar(draw, field, held))
    elif held and draw.maybe(0.7):
        index = draw.number(0, len(held) - 1)
        held[index] = _scalar(draw, field, held[index])
    else:
        held.extend(
            _scalar(draw, field, _EMPTY.get(field.cpp_type, 0)) for _ in range(draw.few(20))
        )


def _set_messages(draw: Draw, message: Message, field: FieldDescriptor, held: Any) -> None:
    if not _repeated(field):
        message.ClearField(field.name) if draw.maybe(0.5) else held.SetInParent()
        return
    if not held:
        held.add()
        return
    index = draw.number(0, len(held) - 1)
    action = draw.number(0, 3)
    if action == 0:
        del held[index]
    elif action == 1:
        held.add().CopyFrom(held[index])
    elif action == 2:
        held.add().CopyFrom(held[draw.number(0, len(held) - 1)])
        del held[index]
    else:
        for _ in range(draw.one([2, 10, 100])):
            held.add().CopyFrom(held[index])


def _scalar(draw: Draw, field: FieldDescriptor, old: Any) -> Any:
    if field.cpp_type in _INTEGERS:
        return _integer(draw, *_INTEGERS[field.cpp_type], old)
    if field.cpp_type == _F.CPPTYPE_ENUM:
        return draw.one([value.number for value in field.enum_type.values])
    if field.cpp_type == _F.CPPTYPE_STRING:
        if field.type == _F.TYPE_BYTES:
            return mutated(draw, old if isinstance(old, bytes) else b"", [])
        texts = [*_TEXTS, f"{old}x", str(old)[:-1], bad_path(draw, "model.onnx.data")]
        return draw.one(texts).encode("utf-8", "replace").decode()
    return draw.one(_FLOATS)


def _integer(draw: Draw, bits: int, signed: bool, old: int) -> int:
    most = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    least = -most - 1 if signed else 0
    near = (old + 1, old - 1, -old, old * 2, old // 2)
    plain = (0, 1, -1, 2, 7, 64, 1000, 65536, 1 << 20, 1 << 30, most, least, most - 1)
    return max(least, min(most, draw.one([*near, *plain, draw.number(0, 30)])))


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)
