"""What any JSON value of a file is held to, whatever it means: valid text, depth, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backends.codec import FormatError

MAX_DEPTH = 32  # of arrays and objects inside each other
MAX_TEXT = 1 << 16  # characters of one text
_BITS = 63  # of an integer, beside its sign


class _Fault(NamedTuple):
    path: str
    expected: str
    got: str


def check_json(value: Any, where: str, *, finite: bool = False) -> None:
    """Refuse what no reader of the value is prepared for.

    Refused are texts with half of a surrogate pair, which no file or terminal can hold, and longer
    ones than ``MAX_TEXT``; integers beyond 64 bits; values nested deeper than ``MAX_DEPTH``; and
    what is no JSON value at all.

    Args:
        value: as ``json.loads`` or a YAML reader returns it.
        where: the name of the value, for errors.
        finite: whether NaN and infinities are refused too.

    Raises:
        FormatError: naming the path of the value.

    Examples:
        >>> check_json({"anchors": [[10, 13]]}, "params")
        >>> check_json({"anchors": [10**30]}, "params")
        Traceback (most recent call last):
        backends.codec.FormatError: params.anchors[0]: expected an integer of at most 64 bits, \
got one of 101
    """
    if fault := _fault(value, MAX_DEPTH, finite):
        raise FormatError(f"{where}{fault.path}", expected=fault.expected, got=fault.got)


def json_size(value: Any) -> int:
    """How many values and characters of text a JSON value has in all; of one that is checked."""
    if isinstance(value, str):
        return 1 + len(value)
    if isinstance(value, Mapping):
        return 1 + sum(json_size(key) + json_size(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return 1 + sum(map(json_size, value))
    return 1


def _fault(value: Any, depth: int, finite: bool) -> _Fault | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return _integer_fault(value)
    if isinstance(value, float):
        is_refused = finite and not math.isfinite(value)
        return _Fault("", "a finite number", str(value)) if is_refused else None
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, Mapping | list | tuple):
        return _nested_fault(value, depth, finite)
    return _Fault("", "a JSON value", type(value).__name__)


def _integer_fault(value: int) -> _Fault | None:
    bits = value.bit_length()
    if bits <= _BITS:
        return None
    return _Fault("", f"an integer of at most {_BITS + 1} bits", f"one of {bits + 1:,}")


def _text_fault(value: str) -> _Fault | None:
    if len(value) > MAX_TEXT:
        return _Fault("", f"a text of at most {MAX_TEXT:,} characters", f"{len(value):,}")
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return _Fault("", "valid text", f"half of a surrogate pair at character {error.start}")
    return None


def _nested_fault(
    value: Mapping[Any, Any] | Sequence[Any], depth: int, finite: bool
) -> _Fault | None:
    if depth == 0:
        return _Fault("", f"at most {MAX_DEPTH} levels of arrays and objects", "more")
    if isinstance(value, Mapping):
        if fault := _first(_key_fault(key) for key in value):
            return fault
        items: Iterable[tuple[Any, Any]] = value.items()
    else:
        items = enumerate(value)
    return _first(_item_fault(value, key, item, depth, finite) for key, item in items)


def _key_fault(key: Any) -> _Fault | None:
    if not isinstance(key, str):
        return _Fault("", "texts as the keys of an object", repr(key)[:80])
    fault = _text_fault(key)
    return fault._replace(path=f" (key {key[:80]!r})") if fault else None


def _item_fault(parent: Any, key: Any, item: Any, depth: int, finite: bool) -> _Fault | None:
    fault = _fault(item, depth - 1, finite)
    if fault is None:
        return None
    part = f".{key[:80]}" if isinstance(parent, Mapping) else f"[{key}]"
    return fault._replace(path=part + fault.path)


def _first(faults: Iterator[_Fault | None]) -> _Fault | None:
    return next((fault for fault in faults if fault), None)
