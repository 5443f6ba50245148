"""Tensors inside nested values, each under its dotted path."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from backends.contract import DeployError

Visit = Callable[[str, torch.Tensor], torch.Tensor]


class ContainerError(DeployError):
    """A container whose tensors cannot be replaced."""


_DEPTH = 4  # of the attributes of an object that is searched for tensors


def replace_tensors(value: Any, visit: Visit, path: str) -> Any:
    """``value`` with every tensor inside it replaced by ``visit(path, tensor)``.

    Traverses lists, tuples, dicts and dataclasses, their subclasses, and every class that is
    registered with ``torch.utils._pytree``. A container is copied only if one of its tensors was
    replaced by another object.

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
    return replace_children(value, new)


def iter_tensors(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor inside ``value`` with its dotted path, in order."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for key, child in _children(value).items():
        yield from iter_tensors(child, _join(path, key))


def _children(value: Any) -> dict[Any, Any]:
    """The elements of a container by their key, index or field name; none of anything else."""
    if not pytree.tree_is_leaf(value):
        return _registered_children(value)
    if isinstance(value, dict | UserDict):
        return dict(value)
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return {}


def _registered_children(value: Any) -> dict[Any, Any]:
    """The children of a class that is registered; by number where the registration has no keys."""
    try:
        pairs, _ = pytree.tree_flatten_with_path(value, is_leaf=lambda node: node is not value)
    except ValueError:  # registered without flatten_with_keys_fn
        children, _ = _flatten_once(value)
        is_plain = isinstance(value, dict) and list(map(id, children)) == list(
            map(id, value.values())
        )
        return dict(zip(value, children, strict=True) if is_plain else enumerate(children))
    return {_key(path): child for path, child in pairs}


def _key(path: tuple[Any, ...]) -> Any:
    """The key, index or attribute that a path of one step names."""
    (entry,) = path
    if isinstance(entry, pytree.MappingKey):
        return entry.key
    if isinstance(entry, pytree.SequenceKey):
        return entry.idx
    return entry.name if isinstance(entry, pytree.GetAttrKey) else str(entry)


def _flatten_once(value: Any) -> tuple[list[Any], pytree.TreeSpec]:
    return pytree.tree_flatten(value, is_leaf=lambda node: node is not value)


def replace_children(value: Any, new: Mapping[Any, Any]) -> Any:
    """A copy of a container with these elements, in the order of its own.

    Raises:
        ContainerError: its class does not allow that.
    """
    try:
        return _rebuild(value, new)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        name = type(value).__name__
        raise ContainerError(
            f"a {name} cannot be rebuilt with other tensors: {str(error).partition(chr(10))[0]}",
            do=_register(name),
        ) from error


def _rebuild(value: Any, new: Mapping[Any, Any]) -> Any:
    if not pytree.tree_is_leaf(value):
        return pytree.tree_unflatten(list(new.values()), _flatten_once(value)[1])
    if isinstance(value, dict | UserDict):
        mapping = copy.copy(value)
        for key, child in new.items():
            mapping[key] = child
        return mapping
    if isinstance(value, list):
        elements = copy.copy(value)
        elements[:] = new.values()
        return elements
    if isinstance(value, tuple):
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
    keyed = children and all(isinstance(key, str) and key for key in children)
    return list(iter_tensors(value, "" if keyed else default))


@dataclasses.dataclass(frozen=True)
class UnknownContainer:
    """An object that holds tensors, and whose class is no container that is traversed.

    Attributes:
        path: where it is.
        type: its class.
    """

    path: str
    type: type

    @property
    def remedy(self) -> str:
        """What to write, for an error's ``do``."""
        return _register(self.type.__name__)


def _register(name: str) -> str:
    return (
        f"Register {name} with torch.utils._pytree.register_pytree_node, or pass its tensors in a "
        "dataclass, a dict or a tuple."
    )


def unknown_containers(value: Any, path: str) -> Iterator[UnknownContainer]:
    """The objects inside ``value`` that hold tensors which ``iter_tensors`` does not see."""
    if isinstance(value, torch.Tensor):
        return
    children = _children(value)
    for key, child in children.items():
        yield from unknown_containers(child, _join(path, key))
    if not children and _holds_tensors(value, _DEPTH):
        yield UnknownContainer(path, type(value))


def _holds_tensors(value: Any, depth: int) -> bool:
    """Whether a tensor is among the attributes of an object; modules and classes keep their own."""
    if isinstance(value, torch.Tensor):
        return True
    if not depth or isinstance(value, torch.nn.Module | type) or callable(value):
        return False
    attributes = (*_children(value).values(), *_attributes(value))
    return any(_holds_tensors(child, depth - 1) for child in attributes)


def _attributes(value: Any) -> Iterator[Any]:
    yield from vars(value).values() if hasattr(value, "__dict__") else ()
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield getattr(value, name)
