"""A backend's options, parsed from a recipe, command line or manifest into its dataclass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from backends.contract import OptionError

T = TypeVar("T")
Value = bool | int | float | str
MAX_THREADS = 1024  # of an engine; more is a mistake or an attack
_BOOLEANS = {"true": True, "false": False}


def clamp_threads(threads: int) -> int:
    """The number of an engine's threads, at most one for each core; 0 is the engine's default.

    Examples:
        >>> clamp_threads(0), clamp_threads(1)
        (0, 1)
    """
    return min(threads, os.cpu_count() or 1)


def parse_options(kind: type[T], assignments: Mapping[str, object], backend: str) -> T:
    """The options of a backend, from typed values or their texts (``fp16=false``).

    Args:
        kind: the backend's frozen dataclass with bool, int, float, str or Literal fields.
        assignments: option to value; other options keep their defaults.
        backend: the backend's name, for errors.

    Raises:
        OptionError: an unknown option, or a value that it does not accept.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Options:
        ...     threads: int = 0
        ...     fp16: bool = False
        >>> parse_options(Options, {"threads": "2"}, "my_backend")
        Options(threads=2, fp16=False)
        >>> parse_options(Options, {"fp16": "maybe"}, "my_backend")
        Traceback (most recent call last):
        backends.contract.OptionError: option 'fp16' of my_backend: expected bool, got 'maybe'
    """
    hints = get_type_hints(kind)
    for name in assignments:
        if name not in hints:
            raise OptionError(
                f"option '{name}' of {backend}",
                expected=f"one of {describe_options(kind)}",
                got=name,
            )
    values = {
        name: _checked_value(hints[name], value, name, backend)
        for name, value in assignments.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise OptionError(f"options of {backend}: {error}") from error


def options_json(options: Any) -> dict[str, Value]:
    """The options by name.

    Examples:
        >>> from dataclasses import make_dataclass
        >>> Options = make_dataclass("Options", [("threads", int, 0), ("fp16", bool, False)])
        >>> options_json(Options(threads=2))
        {'threads': 2, 'fp16': False}
    """
    return asdict(options)


def other_device(options: Mapping[str, object]) -> str:
    """The device that the option ``device`` names, if it is a word and not the CPU; else nothing.

    Engines of one backend and precision are told apart by it.

    Examples:
        >>> other_device({"device": "cuda"}), other_device({"device": "cpu"}), other_device({})
        ('cuda', '', '')
    """
    device = options.get("device")
    if isinstance(device, str) and device.isidentifier() and device != "cpu":
        return device
    return ""


def describe_options(kind: type[Any]) -> str:
    """All options with their types and defaults.

    Examples:
        >>> from dataclasses import make_dataclass
        >>> Options = make_dataclass("Options", [("threads", int, 0), ("fp16", bool, False)])
        >>> describe_options(Options)
        'threads: int = 0, fp16: bool = False'
    """
    hints = get_type_hints(kind)
    return ", ".join(
        f"{field.name}: {_name(hints[field.name])}"
        + ("" if field.default is MISSING else f" = {field.default}")
        for field in fields(kind)
    )


def _checked_value(kind: Any, value: object, name: str, backend: str) -> Value:
    parsed = _parse(kind, value)
    if parsed is None:
        raise OptionError(f"option '{name}' of {backend}", expected=_name(kind), got=repr(value))
    return parsed


def _parse(kind: Any, value: object) -> Value | None:
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None  # type: ignore[return-value]
    if kind is bool:
        value = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind is str:
        return _text(value)
    return _number(kind, value)


def _text(value: object) -> str | None:
    """A text, or a list of words as one text with commas."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return ",".join(value)
    return value if isinstance(value, str) else None


def _number(kind: type[int] | type[float], value: object) -> Value | None:
    if isinstance(value, float) and kind is int:
        return None
    try:
        return kind(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return str(kind.__name__)
