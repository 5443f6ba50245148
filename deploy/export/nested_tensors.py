"""Tensors inside nested values, each under its dotted path."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

Visit = Callable[[str, torch.Tensor], torch.Tensor]


def replace_tensors(value: Any, visit: Visit, path: str) -> Any:
    """``value`` with ``visit(path, tensor)`` in the place of every tensor inside it.

    Looks into lists, tuples, named tuples, dicts and dataclasses. A container none of whose
    tensors is replaced by another object is returned itself, not copied.
    """
    if isinstance(value, torch.Tensor):
        return visit(path, value)
    parts = _parts(value)
    new = {key: replace_tensors(part, visit, _join(path, key)) for key, part in parts.items()}
    if all(new[key] is part for key, part in parts.items()):
        return value
    return _rebuild(value, new)


def iter_tensors(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor inside ``value`` with its dotted path, in order."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for key, part in _parts(value).items():
        yield from iter_tensors(part, _join(path, key))


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._asdict()  # type: ignore[attr-defined, no-any-return]
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: vars(value)[field.name] for field in dataclasses.fields(value)}
    return {}


def _rebuild(value: Any, new: dict[Any, Any]) -> Any:
    if isinstance(value, dict):
        other = copy.copy(value)
        other.update(new)
        return other
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*new.values())
    if isinstance(value, list | tuple):
        return type(value)(new.values())
    other = copy.copy(value)
    for key, part in new.items():
        object.__setattr__(other, key, part)  # a frozen dataclass refuses setattr
    return other


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def named_tensors(value: Any, default: str) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a forward's result: by key where it has keys, else below ``default``."""
    parts = _parts(value)
    keyed = parts and all(isinstance(key, str) for key in parts)
    return list(iter_tensors(value, "" if keyed else default))
