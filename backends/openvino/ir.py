"""The check of an OpenVINO IR before OpenVINO parses it.

The engine trusts the text as if its own serializer had written it: constants are offsets into the
weights file, and settings in the text override those of the runner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from xml.parsers import expat

from backends.contract import EngineError

_MAX_BYTES = 1 << 26  # of text; a net of a thousand layers has about one megabyte
_MAX_DEPTH = 64
_CONVERT_AGAIN = "Convert again."

_TAGS = frozenset(
    (
        *("net", "layers", "layer", "data", "input", "output", "port", "dim", "edges", "edge"),
        *("rt_info", "attribute", "info", "body", "port_map", "back_edges"),
        *("then_body", "then_port_map", "else_body", "else_port_map"),
    )
)

_STATEFUL = frozenset({"ReadValue", "Assign"})  # they keep values between calls
_OPSET = re.compile(r"opset[0-9]{1,2}")
_NUMBER = re.compile(r"[0-9]{1,15}")

_BITS: Mapping[str, int] = {
    **dict.fromkeys(("boolean", "i8", "u8", "f8e4m3", "f8e5m2"), 8),
    **dict.fromkeys(("f16", "bf16", "i16", "u16"), 16),
    **dict.fromkeys(("f32", "i32", "u32"), 32),
    **dict.fromkeys(("f64", "i64", "u64"), 64),
    **dict.fromkeys(("i4", "u4"), 4),
}


def check_ir(text: bytes, name: str, weights: int) -> None:
    """Refuse a text that OpenVINO's serializer would not write.

    Args:
        text: the ``.xml``.
        name: of the file, for errors.
        weights: bytes of the ``.bin``.

    Raises:
        EngineError: it is no XML; or has a declaration, an unknown element, a layer with a state
            or outside the standard opsets, settings of the engine, or a constant that is not
            inside the ``.bin``.
    """
    if len(text) > _MAX_BYTES:
        raise _fault(name, f"at most {_MAX_BYTES:,} bytes", f"{len(text):,}")
    parser = expat.ParserCreate("UTF-8")  # whatever encoding the text declares
    handler = _Handler(name, weights)
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.StartDoctypeDeclHandler = handler.declared
    parser.ProcessingInstructionHandler = handler.declared
    parser.StartCdataSectionHandler = handler.declared
    parser.CommentHandler = handler.declared
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise _fault(name, "the XML of an OpenVINO IR", str(error)) from error


class _Handler:
    """The parser's callbacks, with the open elements and layers."""

    def __init__(self, name: str, weights: int) -> None:
        self._name = name
        self._weights = weights
        self._open: list[str] = []
        self._layers: list[dict[str, str]] = []  # bodies of loops have layers in layers

    def start(self, tag: str, values: dict[str, str]) -> None:
        """An element begins."""
        if tag not in _TAGS and "rt_info" not in self._open:
            raise self._fault("elements of an IR", tag)
        if not self._open and tag != "net":
            raise self._fault("a net", tag)
        if "runtime_options" in (tag, *values.values()):
            raise self._fault("no settings of the engine", "runtime_options")
        self._open.append(tag)
        if len(self._open) > _MAX_DEPTH:
            raise self._fault(f"elements at most {_MAX_DEPTH} deep", "more")
        if tag == "layer":
            self._check_layer(values)
        elif tag == "data" and self._layers and self._layers[-1]["type"] == "Const":
            self._check_constant(values)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._open.pop()
        if tag == "layer":
            self._layers.pop()

    def declared(self, *_: object) -> None:
        """A construct that no serializer writes, and that parsers may interpret differently."""
        raise self._fault("elements alone", "a declaration, an instruction, CDATA or a comment")

    def _check_layer(self, values: dict[str, str]) -> None:
        kind, opset = values.get("type", ""), values.get("version", "")
        self._layers.append({"name": values.get("name", ""), "type": kind})
        if not _OPSET.fullmatch(opset) or kind in _STATEFUL:
            raise self._fault("layers of a standard opset without a state", f"{kind} of {opset}")

    def _check_constant(self, values: dict[str, str]) -> None:
        bits = _BITS.get(values.get("element_type", ""))
        shape = [part.strip() for part in values.get("shape", "").split(",") if part.strip()]
        numbers = [values.get("offset", ""), values.get("size", ""), *shape]
        if bits is None or not all(map(_NUMBER.fullmatch, numbers)):
            raise self._constant("a constant of numbers", values)
        offset, size, *dims = map(int, numbers)
        if offset + size > self._weights or size != (prod(dims) * bits + 7) // 8:
            raise self._constant(f"its bytes within {self._weights:,}", values)

    def _constant(self, expected: str, values: dict[str, str]) -> EngineError:
        got = ", ".join(f"{key}={value[:40]}" for key, value in values.items())
        name = self._layers[-1]["name"][:80]
        return _fault(f"{self._name}': constant '{name}", expected, got[:200])

    def _fault(self, expected: str, got: str) -> EngineError:
        return _fault(self._name, expected, got[:80])


def _fault(what: str, expected: str, got: str) -> EngineError:
    return EngineError(f"'{what}'", expected=expected, got=got, do=_CONVERT_AGAIN)
