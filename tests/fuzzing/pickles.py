"""Mutators of weights: safetensors' header, a checkpoint's members, and pickles that act."""

from __future__ import annotations

import io
import json
import struct
import zipfile

from tests.fuzzing.draw import Draw
from tests.fuzzing.octets import mutated
from tests.fuzzing.paths import CANARY
from tests.fuzzing.texts import mutated_json

_CALLABLES = (
    "os system", "posix system", "builtins eval", "builtins exec", "builtins open",
    "builtins getattr", "subprocess Popen", "io open", "shutil rmtree", "webbrowser open",
    "torch load", "torch.hub load", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter", "torch.storage _load_from_bytes",
    "torch.serialization load", "torch.jit load", "torch FloatStorage", "torch Size",
    "torch device", "collections OrderedDict", "collections Counter",
    "numpy.core.multiarray _reconstruct", "numpy ndarray", "codecs encode", "pathlib PosixPath",
    "functools partial", "operator attrgetter", "_pickle loads", "pickle loads", "numpy load",
    "torch tensor", "torch.nn.modules.linear Linear",
)  # fmt: skip
_SMALL = (
    b"N.",
    b"(.",
    b"}.",
    b"]q\0h\0.",
    b"\x80\xff.",
    b"0.",
    b"Ptorch\n.",
    b"\x8a\xff.",
    b"(t.",
    b"1.",
)


def mutated_weights(draw: Draw, data: bytes, others: list[bytes]) -> bytes:
    """A weights file after some changes."""
    if draw.maybe(0.2):
        return mutated(draw, data, others)
    if data[:2] == b"PK":
        return _checkpoint(draw, data)
    if data[8:9] == b"{":
        return _safetensors(draw, data)
    return _old(draw, data)


def _safetensors(draw: Draw, data: bytes) -> bytes:
    (size,) = struct.unpack_from("<Q", data)
    header, rest = data[8 : 8 + size], data[8 + size :]
    header = _safe_header(draw, header) if draw.maybe(0.5) else mutated_json(draw, header)
    sizes = [0, 1, 8, 1 << 31, 1 << 63, (1 << 64) - 1, len(header) + 1, len(header) - 1]
    said = len(header) if draw.maybe(0.9) else draw.one(sizes)
    return struct.pack("<Q", said % (1 << 64)) + header + rest


def _safe_header(draw: Draw, header: bytes) -> bytes:
    """One tensor says something else of itself."""
    entries = json.loads(header)
    names = [name for name in entries if name != "__metadata__"]
    one, other = entries[draw.one(names)], entries[draw.one(names)]
    numbers = [0, 1, -1, 1 << 31, 1 << 62, (1 << 64) - 1, 3, 100_000]
    key = draw.one(["dtype", "shape", "data_offsets"])
    if key == "dtype":
        one[key] = draw.one(
            ["F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", ""]
        )
    elif draw.maybe(0.3):
        one[key] = other[key]
    elif one[key]:
        one[key][draw.number(0, len(one[key]) - 1)] = draw.one(numbers)
    else:
        one[key] = [draw.one(numbers)] * draw.one([1, 3, 60])
    return json.dumps(entries).encode()


def _checkpoint(draw: Draw, data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = draw.one([*[name for name in members if name.endswith(".pkl")] * 3, *members])
    pickled = name.endswith(".pkl")
    action = draw.number(0, 5)
    if action == 0:
        del members[name]
    elif action == 1:
        members[draw.one(["../x", "a/../b", "archive/data.pkl", "constants.pkl", "\0"])] = members[
            name
        ]
    elif pickled:
        members[name] = _pickle(draw, members[name])
    else:
        members[name] = mutated(draw, members[name], [])
    target = io.BytesIO()
    how = draw.one([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(target, "w", how) as archive:
        for path, held in members.items():
            archive.writestr(zipfile.ZipInfo(path), held, how)
    return target.getvalue()


def _old(draw: Draw, data: bytes) -> bytes:
    """The format before zips: several pickles in a row, then the storages."""
    cuts = [at + 1 for at in range(min(len(data), 4000)) if data[at : at + 1] == b"."]
    at = draw.one([0, *cuts]) if cuts else 0
    if draw.maybe(0.5):
        return data[:at] + _acting(draw) + data[at:]
    return data[:at] + mutated(draw, data[at : at + 300], [], draw.few(3)) + data[at + 300 :]


def _pickle(draw: Draw, data: bytes) -> bytes:
    action = draw.number(0, 3)
    if action == 0:
        return _acting(draw)
    if action == 1:
        return data[:2] + _acting(draw)[:-1] + data[2:]
    return mutated(draw, data, [], draw.few(3))


def _acting(draw: Draw) -> bytes:
    """A pickle that calls something, with the canary as its argument."""
    if draw.maybe(0.2):
        levels = draw.one([500, 100_000])
        return draw.one([*_SMALL, b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."])
    module, name = draw.one(_CALLABLES).split()
    path = f"{draw.outside}/{CANARY}"
    texts = [path, f"cat {path}", f"open({path!r}).read()", "a" * 1000, "0"]
    argument = b"X" + struct.pack("<I", len(text := draw.one(texts).encode())) + text
    arguments = draw.one(
        [argument, b"N", b"K\1", b"]", b"}", argument * 3, b"\x8a\x08" + b"\xff" * 7 + b"\x7f"]
    )
    called = b"c" + f"{module}\n{name}\n".encode() + b"(" + arguments + b"tR."
    return draw.one([b"\x80\x02", b"\x80\x04", b""]) + draw.one(
        [called, called[:-2] + b"\x81.", called[:-1] + b"}b."]
    )
