"""The places of a recipe that hold texts, such as names of tensors, and what YAML makes of them.

YAML and Hydra read ``467``, ``on`` or ``1e3`` as a number or a boolean. Where the recipe wants a
text, a whole number is that text; of the others the text that was written is lost.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import PartitionRecipe, Recipe, RecipeError

_CUTS = list[str | list[str]]  # what ``partition.cuts`` takes, which OmegaConf has no type for


def kind_at(path: Sequence[str]) -> Any:
    """The type that a recipe has at a path of keys; ``*`` and numbers are elements of lists.

    Returns:
        A type; ``Any`` where everything is taken, and None where the recipe has no such key.

    Examples:
        >>> kind_at(["model", "file"])
        <class 'str'>
        >>> kind_at(["device", "host"])
        <class 'str'>
    """
    is_of_device = path[0] == "device" and len(path) > 1  # one, or several merged
    kind: Any = DeviceRecipe if is_of_device else Recipe
    for key in path[1:] if is_of_device else path:
        kind = _below(_plain_kind(kind), key)
    return _plain_kind(kind)


def with_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe with whole numbers as texts where texts are wanted.

    One text where a list of texts is wanted is a list of it.

    Raises:
        RecipeError: a boolean, a fraction or null where a text is wanted; the text names the key.
    """
    converted = _converted(values, Recipe, "")
    assert isinstance(converted, dict)
    return converted


def _plain_kind(kind: Any) -> Any:
    """Without the ``None`` of an optional type."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [item for item in get_args(kind) if item is not type(None)]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {**hints, "cuts": _CUTS} if kind is PartitionRecipe else hints


def _below(kind: Any, key: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):  # of a text and a list of them
        return next((_below(item, key) for item in get_args(kind) if get_origin(item)), None)
    if kind is Any or kind is None:
        return kind
    if is_dataclass(kind):
        return _hints(kind).get(key)
    arguments = get_args(kind)
    return arguments[-1] if arguments else None


def _converted(value: Any, kind: Any, key: str) -> Any:
    kind = _plain_kind(kind)
    if kind is str:
        return _text(value, key)
    if kind in (list[str], _CUTS) and not isinstance(value, list | Mapping | None):
        return [_text(value, key)]
    if get_origin(kind) in (Union, types.UnionType):
        is_list = isinstance(value, list)
        return _converted(value, list[str] if is_list else str, key)
    if isinstance(value, list) and get_origin(kind) is list:
        (inner,) = get_args(kind)
        return [_converted(item, inner, f"{key}.{n}") for n, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _mapping(value, kind, key)
    return value


def _mapping(value: Mapping[Any, Any], kind: Any, key: str) -> Any:
    prefix = f"{key}." if key else ""
    if is_dataclass(kind):
        hints = _hints(kind)
        return {
            name: _converted(item, hints.get(name, Any), f"{prefix}{name}")
            for name, item in value.items()
        }
    if get_origin(kind) is not dict:
        return value
    key_kind, inner = get_args(kind)
    named = {
        _text(name, f"a key of {key}") if key_kind is str else name: item
        for name, item in value.items()
    }
    return {name: _converted(item, inner, f"{prefix}{name}") for name, item in named.items()}


def _text(value: Any, key: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float) or value is None:
        read = "null" if value is None else str(value).lower()
        raise RecipeError(
            key,
            expected="a text",
            got=f"{read}, which is what YAML makes of words such as on, no, null and 1e3",
            do="Write it in quotes, such as 'on'.",
        )
    return value
