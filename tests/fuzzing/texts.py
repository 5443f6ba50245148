"""Mutators of JSON: its values, its shape, and its text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated
from tests.fuzzing.paths import bad_path

Json = Any
Place = tuple[Any, Any]  # an object or array, and a key or index in it

_RAW = "@raw@"  # a string that starts so stands for its rest, as text
_NUMBERS = (
    0, 1, 2, -1, -2, 3, 16, 255, 256, 65535, 65536, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 32,
    1 << 53, 1 << 63, (1 << 63) - 1, -(1 << 63), 1 << 64, 10**30, 0.5, -0.0, 1e-320, 1e308, -1e308,
)  # fmt: skip
_RAWS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 4301, "9" * 200_000, "-" + "1" * 5000,
    "[" * 100_000, "[" * 500 + "]" * 500, "[" * 50_000 + "]" * 50_000,
    '{"a":' * 2000 + "1" + "}" * 2000, "00", "+1", "1.", "'x'", "undefined", '"\\ud800"',
    '"\\udc00\\ud800"', '"\x01"', '"\\u0000"', "tru",
)  # fmt: skip
_STRINGS = (
    "", " ", "x", "\0", "a" * 100_000, "../x", "é", "\u202e", "\ud800", "{}", "%s%n", "${HOME}",
    "None", "__class__", "__init__", "os", "os:system", "builtins:eval", "self", "float32",
    "float64", "float16", "int8", "bool", "object", "O", "V8", "U99999999", "S2147483647",
    "datetime64[ns]", "m8", ">f4", "float128", "complex64", "f4,f4", "(1000000,1000000)f4",
    "string", "bfloat16", "int64", "onnxruntime", "ncnn", "tensorrt", "backends", "..",
    "yolov3.maps", "yolov3.boxes", "mask_rcnn.masks", "mask_rcnn.roi_align", "mask_rcnn.proposals",
    "mask_rcnn.detections", "seq2seq.greedy", "passed", "failed", "bgr", "cuda", "on", "1", "-1",
    "true",
)  # fmt: skip


def mutated_json(draw: Draw, text: bytes, rounds: int = 0) -> bytes:
    """JSON text after some changes; text that is no JSON gets those of bytes."""
    try:
        return _mutated(draw, json.loads(text), rounds)
    except (ValueError, RecursionError):
        return mutated(draw, text, [])


def _mutated(draw: Draw, data: Json, rounds: int) -> bytes:
    for _ in range(rounds or draw.few(4)):
        data = draw.one(MUTATORS)(draw, data)
    written = dumped(data)
    if draw.maybe(0.05):
        written = _odd_text(draw, written)
    return mutated(draw, written, [], 1) if draw.maybe(0.05) else written


def dumped(data: Json) -> bytes:
    """JSON text, with what no JSON value gives where a string says so."""
    text = json.dumps(data, indent=2)
    parts = text.split(f'"{_RAW}')
    for index, part in enumerate(parts[1:], 1):
        raw, _, rest = part.partition('"')
        parts[index] = _RAWS[int(raw)] + rest if raw.isdigit() else part
    return "".join(parts).encode("utf-8", "surrogatepass")


def value(draw: Draw) -> Json:
    """Anything that JSON can hold, and some that it cannot."""
    shape = draw.number(0, 9)
    if shape < 4:
        return draw.one(_NUMBERS)
    if shape < 7:
        return draw.one(_STRINGS)
    if shape < 8:
        return f"{_RAW}{draw.number(0, len(_RAWS) - 1)}"
    return draw.one([None, True, False, [], {}, [[]], {"": 1}, [None] * 1000, [1, "a", None, {}]])


def places(data: Json) -> list[Place]:
    """Every place in a value."""
    return list(_places(data))


def _places(data: Json) -> Iterator[Place]:
    keys = data.keys() if isinstance(data, dict) else range(len(data))
    for key in keys:
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def _place(draw: Draw, data: Json) -> Place | None:
    found = places(data) if isinstance(data, dict | list) else []
    return draw.one(found) if found else None


def _replace(draw: Draw, data: Json) -> Json:
    if (place := _place(draw, data)) is None:
        return value(draw)
    place[0][place[1]] = value(draw)
    return data


def _replace_alike(draw: Draw, data: Json) -> Json:
    """By another value of its type, which the types' check lets through."""
    if (place := _place(draw, data)) is None:
        return data
    parent, key = place
    old = parent[key]
    if isinstance(old, bool):
        parent[key] = not old
    elif isinstance(old, int | float):
        parent[key] = draw.one([*_NUMBERS, old + 1, old - 1, -old, old * 2])
    elif isinstance(old, str):
        parent[key] = draw.one([*_STRINGS, bad_path(draw, old), old + "x", old[:-1], old.upper()])
    return data


def _delete(draw: Draw, data: Json) -> Json:
    if (place := _place(draw, data)) is not None:
        del place[0][place[1]]
    return data


def _add(draw: Draw, data: Json) -> Json:
    if (place := _place(draw, data)) is not None:
        parent, key = place
        if isinstance(parent, dict):
            parent[draw.one([*_STRINGS, "name", "files", "source", "calls", f"{key}x"])] = value(
                draw
            )
        else:
            parent.insert(draw.number(0, len(parent)), value(draw))
    return data


def _rename(draw: Draw, data: Json) -> Json:
    place = _place(draw, data)
    if place is not None and isinstance(place[0], dict):
        parent, key = place
        parent[draw.one([*_STRINGS, bad_path(draw, str(key)), str(key).upper()])] = parent.pop(key)
    return data


def _move(draw: Draw, data: Json) -> Json:
    """A value of one place to another."""
    one, two = _place(draw, data), _place(draw, data)
    if one is not None and two is not None:
        two[0][two[1]] = copy.deepcopy(one[0][one[1]])
    return data


def _repeat(draw: Draw, data: Json) -> Json:
    place = _place(draw, data)
    if place is not None and isinstance(place[0], list):
        parent, key = place
        parent.extend(copy.deepcopy([parent[key]] * draw.one([1, 2, 9, 300])))
    return data


def _odd_text(draw: Draw, text: bytes) -> bytes:
    """What a parser may not expect around or in a good text."""
    twice = text.replace(b"{", b'{"format": 1, "model": "m", "name": "n", ', 1)
    return draw.one(
        [
            b"\xef\xbb\xbf" + text,
            text.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"),
            text + b"\0",
            text + text,
            b"",
            b" " * 1_000_000 + text,
            text.replace(b'"', b"'"),
            text.replace(b",", b",,", 1),
            text.replace(b"e", b"\xff", 1),
            twice,
        ]
    )


MUTATORS: tuple[Callable[[Draw, Json], Json], ...] = (
    _replace,
    _replace,
    _replace_alike,
    _replace_alike,
    _replace_alike,
    _delete,
    _add,
    _rename,
    _move,
    _repeat,
)
