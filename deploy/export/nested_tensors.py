"""Tensors inside nested values, each under its dotted path."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

Visit = Callable[[str, torch.Tensor], torch.Tensor]


def replace_tensors(value: Any, visit: Visit, path: str) -> Any:
    """``value`` with every tensor inside it replaced by ``visit(path, tensor)``.

    Traverses lists, tuples, named tuples, dicts and dataclasses. A container is copied only if
    one of its tensors was replaced by another object.

    Args:
        value: a tensor, a nested value, or anything else, which is returned as it is.
        visit: from the dotted path of a tensor and the tensor to its replacement.
        path: the path of ``value`` itself; may be empty.
    """
    if isinstance(value, torch.Tensor):
        return visit(path, value)
    children = _children(value)
    new = {key: replace_tensors(child, visit, _join(path, key)) for key, child in children.items()}
    if all(new[key] is child for key, child in children.items()):
        return value
    return _rebuild(value, new)


def iter_tensors(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor inside ``value`` with its dotted path, in order."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for key, child in _children(value).items():
        yield from iter_tensors(child, _join(path, key))


def _children(value: Any) -> dict[Any, Any]:
    """The elements of a container by their key, index or field name; none of anything else."""
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
    """A copy of a container with these elements."""
    if isinstance(value, dict):
        mapping = copy.copy(value)
        mapping.update(new)
        return mapping
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*new.values())
    if isinstance(value, list | tuple):
        return type(value)(new.values())
    instance = copy.copy(value)
    for key, child in new.items():
        object.__setattr__(instance, key, child)  # a frozen dataclass refuses setattr
    return instance


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def named_tensors(value: Any, default: str) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a forward's result with their paths.

    Paths begin with the keys or fields of the result, or with ``default`` where it has none.
    """
    children = _children(value)
    keyed = children and all(isinstance(key, str) for key in children)
    return list(iter_tensors(value, "" if keyed else default))
