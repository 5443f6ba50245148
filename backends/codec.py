"""Frozen dataclasses to plain JSON values, and strictly back."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from backends.contract import DeployError

T = TypeVar("T")
Json = Any


class FormatError(DeployError):
    """A JSON value that does not match its dataclass."""


def to_json(value: Any) -> Json:
    """A dataclass as plain JSON values: objects, arrays, numbers, strings and null."""
    return _plain(asdict(value))


def from_json(kind: type[T], data: Json, where: str) -> T:
    """The inverse of ``to_json``.

    Args:
        kind: the dataclass.
        data: its JSON value.
        where: the name of the value, for errors.

    Raises:
        FormatError: an unknown or missing field, or a value of another type, with its path.
    """
    return cast(T, _read(kind, data, where))


def _plain(value: Any) -> Json:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _read(kind: Any, data: Json, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _read_object(kind, data, where)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, data, where)
    if origin is tuple:
        return _read_tuple(arguments, data, where)
    if origin is Literal:
        return (
            data if data in arguments else _refuse(where, " or ".join(map(repr, arguments)), data)
        )
    if origin is not None and issubclass(origin, Mapping):
        _check(dict, data, where)
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if kind is float:
        _check(int | float, data, where)
        return _float(data, where)
    if kind is not Any:
        _check(kind, data, where)
    return data


def _float(data: int | float, where: str) -> float:
    try:
        return float(data)
    except OverflowError:
        return cast(float, _refuse(where, "a number that fits 64 bits", "a longer one"))


def _read_object(kind: Any, data: Json, where: str) -> Any:
    _check(dict, data, where)
    known = {field.name: field for field in fields(kind)}
    required = {
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING
    }
    if unknown := sorted(data.keys() - known.keys()):
        raise FormatError(f"{where}: unknown field '{unknown[0]}'", expected=", ".join(known))
    if missing := sorted(required - data.keys()):
        raise FormatError(f"{where}: field '{missing[0]}' is missing")
    hints = _hints(kind)
    return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in data.items()})


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _read_union(kinds: Sequence[Any], data: Json, where: str) -> Any:
    for kind in kinds:
        if _is_instance(_json_type(kind), data):
            return _read(kind, data, where)
    return _refuse(where, " or ".join(_name(kind) for kind in kinds), data)


def _json_type(kind: Any) -> Any:
    if is_dataclass(kind):
        return dict
    return list if get_origin(kind) is tuple else kind


def _read_tuple(kinds: Sequence[Any], data: Json, where: str) -> tuple[Any, ...]:
    _check(list, data, where)
    if kinds[-1] is Ellipsis:
        kinds = [kinds[0]] * len(data)
    if len(data) != len(kinds):
        _refuse(where, f"{len(kinds)} values", data)
    pairs = enumerate(zip(kinds, data, strict=True))
    return tuple(_read(kind, item, f"{where}[{index}]") for index, (kind, item) in pairs)


def _is_instance(kind: Any, data: Json) -> bool:
    # bool is a subclass of int in Python, but another type in JSON
    return isinstance(data, kind) and (kind is bool or not isinstance(data, bool))


def _check(kind: Any, data: Json, where: str) -> None:
    if not _is_instance(kind, data):
        _refuse(where, _name(kind), data)


def _refuse(where: str, expected: str, data: Json) -> Any:
    raise FormatError(where, expected=expected, got=repr(data)[:80])


def _name(kind: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null"}
    kind = kind if is_dataclass(kind) else _json_type(kind)
    return names.get(kind) or (kind.__name__ if isinstance(kind, type) else str(kind))
