"""Frozen dataclasses to plain JSON values, and strictly back."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from backends.bounds import Between, Length
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


def read_value(kind: Any, data: Json, where: str) -> Any:
    """A JSON value as what a type says, with the bounds that ``Annotated`` declares.

    Args:
        kind: built of None, bool, int, float, str, Literal, tuples, lists, sequences, mappings,
            dataclasses, unions of them, ``Annotated`` and Any.
        data: the JSON value.
        where: its name, for errors.

    Raises:
        FormatError: another type, or out of its bounds, with its path.

    Examples:
        >>> read_value(tuple[Annotated[float, Between(0, 1)], ...], [1, 0.5], "shares")
        (1.0, 0.5)
        >>> read_value(tuple[Annotated[float, Between(0, 1)], ...], [0.5, 7], "shares")
        Traceback (most recent call last):
        backends.codec.FormatError: shares[1]: expected float from 0 to 1, got 7
    """
    return _read(kind, data, where)


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
    if origin is Annotated:
        return _read_bounded(arguments[0], arguments[1:], data, where)
    if origin is tuple:
        return _read_tuple(arguments, data, where)
    if origin is Literal:
        return (
            data if data in arguments else _refuse(where, " or ".join(map(repr, arguments)), data)
        )
    if origin is not None and issubclass(origin, Mapping):
        return _read_mapping(arguments, data, where)
    if origin is not None and issubclass(origin, Sequence):
        return list(_read_tuple((*arguments, Ellipsis), data, where))
    if kind is float:
        return _float(data, where) if _has_type(float, data) else _refuse(where, "float", data)
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
    return get_type_hints(kind, include_extras=True)


def _read_union(kinds: Sequence[Any], data: Json, where: str) -> Any:
    for kind in kinds:
        if _has_type(kind, data):
            return _read(kind, data, where)
    return _refuse(where, " or ".join(_name(kind) for kind in kinds), data)


def _read_bounded(kind: Any, bounds: Sequence[Any], data: Json, where: str) -> Any:
    if not _has_type(kind, data):
        _refuse(where, _bounded_name(kind, bounds), data)
    value = _read(kind, data, where)
    for bound in bounds:
        if isinstance(bound, Between) and not bound.accepts(value):
            _refuse(where, _bounded_name(kind, [bound]), data)
        if isinstance(bound, Length) and not bound.accepts(value):
            raise FormatError(
                where, expected=f"{_name(kind)} {bound}", got=f"one of length {len(value):,}"
            )
    return value


def _bounded_name(kind: Any, bounds: Sequence[Any]) -> str:
    known = [str(bound) for bound in bounds if isinstance(bound, Between)]
    return " ".join([_name(kind), *known])


def _has_type(kind: Any, data: Json) -> bool:
    """Whether a JSON value is of the type at its top; its items are not looked at."""
    kind = _json_type(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return any(_has_type(choice, data) for choice in get_args(kind))
    if get_origin(kind) is Literal:
        return data in get_args(kind)
    return kind is Any or _is_instance(int | float if kind is float else kind, data)


def _json_type(kind: Any) -> Any:
    """The type as JSON has it: without bounds, and of containers without their items."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _json_type(get_args(kind)[0])
    if is_dataclass(kind):
        return dict
    if not isinstance(origin, type):
        return kind
    if issubclass(origin, Mapping):
        return dict
    return list if issubclass(origin, Sequence) else kind


def _read_mapping(kinds: Sequence[Any], data: Json, where: str) -> dict[str, Any]:
    _check(dict, data, where)
    for key in data:
        _read(kinds[0], key, f"{where}: name")
    return {key: _read(kinds[1], item, f"{where}.{key}") for key, item in data.items()}


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
    if get_origin(kind) is Annotated:
        return _bounded_name(get_args(kind)[0], get_args(kind)[1:])
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    kind = kind if is_dataclass(kind) else _json_type(kind)
    return names.get(kind) or (kind.__name__ if isinstance(kind, type) else str(kind))
