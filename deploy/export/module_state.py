"""The state of a model: what a forward changes in its modules, and how to undo it."""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

_NAMESPACES = frozenset({"_buffers", "_modules", "_parameters"})
# the other attributes of every module; the hooks of marks are among them
_HOOKS = frozenset(vars(nn.Module())) - _NAMESPACES - {"training"}
_MISSING = object()


_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
_VALUES = (bool, int, float, complex, str, bytes, type(None))
_LIBRARIES = frozenset(("torch", "numpy")) | sys.stdlib_module_names
_NAMESPACE_TYPES = (SimpleNamespace, argparse.Namespace)
_MOST_OBJECTS = 100_000  # that are looked at


@dataclass(frozen=True)
class _SavedTensor:
    """A tensor with a copy of its values; of a parameter, its version and a checksum instead."""

    path: str
    tensor: Tensor
    values: Tensor | None
    version: tuple[int | None, float]

    def is_changed(self) -> bool:
        if self.values is None:
            return _version(self.tensor) != self.version
        return not _equal(self.tensor, self.values)

    def restore(self) -> None:
        if self.values is not None and self.is_changed():
            self.tensor.data = self.values.clone()


@dataclass(frozen=True)
class _SavedContainer:
    """A container, or the attributes of an object, with its items as they were."""

    path: str
    container: Any
    items: Any
    named: bool

    def changes(self) -> Iterator[str]:
        if not self.named:
            if not _same_items(_flat(self.container), _flat(self.items)):
                yield self.path
            return
        for key in {**self.items, **self.container}:
            old, new = self.items.get(key, _MISSING), self.container.get(key, _MISSING)
            if key not in _HOOKS and not _is_same(old, new):
                yield _join(self.path, key)

    def restore(self) -> None:
        if not any(self.changes()):
            return
        self.container.clear()
        if isinstance(self.container, dict | set):
            self.container.update(self.items)
        else:
            self.container.extend(self.items)


class ModuleState:
    """The tensors, attributes and containers of a model at one moment.

    Buffers and other tensors are copied; parameters are not, so that a change of one is seen and
    cannot be undone. Seen are modules, objects and containers that can be reached from the model's
    attributes; not globals, closures and objects with slots.

    Args:
        model: the model; nothing of it is changed.

    Examples:
        >>> model = nn.BatchNorm1d(2)
        >>> state = ModuleState(model)
        >>> _ = model(torch.ones(3, 2))
        >>> state.changes()
        ['num_batches_tracked', 'running_mean', 'running_var']
        >>> state.restore()
        >>> state.changes()
        []
    """

    def __init__(self, model: nn.Module) -> None:
        self._tensors: list[_SavedTensor] = []
        self._containers: list[_SavedContainer] = []
        self._hooks: list[_SavedContainer] = []
        pending: list[tuple[str, Any]] = [("", model)]
        seen: set[int] = set()
        while pending and len(seen) < _MOST_OBJECTS:
            path, value = pending.pop()
            if id(value) not in seen:
                seen.add(id(value))
                pending += self._save(path, value)

    def _save(self, path: str, value: Any) -> list[tuple[str, Any]]:
        """Save one object; returns what can be reached from it."""
        if isinstance(value, Tensor):
            self._save_tensor(path, value)
            return []
        if isinstance(value, torch.jit.ScriptModule):
            return [(_join(path, name), buffer) for name, buffer in value.named_buffers()]
        if type(value) in _CONTAINERS:
            return self._save_container(path, value)
        if isinstance(value, tuple):
            return [(path, item) for item in value]
        if isinstance(value, nn.Module):
            self._save_hooks(value)
        if isinstance(value, nn.Module) or _has_state(value):
            return self._save_container(path, vars(value), inside=isinstance(value, nn.Module))
        return []

    def _save_tensor(self, path: str, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter):
            saved = _SavedTensor(path, tensor, None, _version(tensor))
        else:
            saved = _SavedTensor(path, tensor, tensor.detach().clone(), (None, 0.0))
        self._tensors.append(saved)

    def _save_hooks(self, module: nn.Module) -> None:
        """Save the hooks, which are no state; but a flag that says that they are there is some."""
        for key in _HOOKS:
            hooks = vars(module).get(key)
            if isinstance(hooks, dict):
                self._hooks.append(_SavedContainer(key, hooks, dict(hooks), named=False))

    def _save_container(
        self, path: str, container: Any, inside: bool = False
    ) -> list[tuple[str, Any]]:
        named = isinstance(container, dict) and all(isinstance(key, str) for key in container)
        items = dict(container) if isinstance(container, dict) else type(container)(container)
        self._containers.append(_SavedContainer(path, container, items, named))
        if not isinstance(container, dict):
            return [(path, item) for item in container]
        return [
            (path if inside and key in _NAMESPACES else _join(path, key), item)
            for key, item in container.items()
            if not (inside and key in _HOOKS)
        ]

    def changes(self) -> list[str]:
        """The paths of what differs now, such as ``encoder.memory``, sorted."""
        paths = {saved.path for saved in self._tensors if saved.is_changed()}
        for saved in self._containers:
            paths |= set(saved.changes())
        return sorted(paths)

    def restore(self) -> None:
        """Put everything but the values of parameters back."""
        for saved in (*self._containers, *self._hooks):
            saved.restore()
        for tensor in self._tensors:
            tensor.restore()


@contextmanager
def restored_state(model: nn.Module) -> Iterator[ModuleState]:
    """Put a model's state back at the end of the block, also after an error.

    Yields:
        The state at the beginning of the block.
    """
    state = ModuleState(model)
    try:
        yield state
    finally:
        state.restore()


@dataclass(frozen=True)
class TensorAttribute:
    """A buffer of a module, or another attribute of it that is a tensor."""

    module: nn.Module
    name: str

    @property
    def value(self) -> Tensor:
        """The tensor."""
        value = self._namespace[self.name]
        assert isinstance(value, Tensor), "find_tensor has seen it"
        return value

    def assign(self, value: Tensor) -> None:
        """Put another tensor of the same shape and dtype in its place."""
        self._namespace[self.name] = value

    @property
    def _namespace(self) -> dict[str, Any]:
        # each time anew, since torch.export puts another dict in the place of ``_buffers``
        buffers: dict[str, Any] = self.module._buffers
        return buffers if self.name in buffers else vars(self.module)


def find_tensor(model: nn.Module, path: str) -> TensorAttribute | None:
    """A tensor of a model by its path, such as ``encoder.memory``; None where there is none."""
    module_path, _, name = path.rpartition(".")
    module = dict(model.named_modules(remove_duplicate=False)).get(module_path)
    if module is None:
        return None
    value = {**vars(module), **module._buffers}.get(name)
    return TensorAttribute(module, name) if isinstance(value, Tensor) else None


def _has_state(value: Any) -> bool:
    """Whether an object is of the user's or a model library's own class, with attributes."""
    if isinstance(value, _NAMESPACE_TYPES):
        return True
    library = type(value).__module__.partition(".")[0]
    is_class = isinstance(value, type)
    return hasattr(value, "__dict__") and not is_class and library not in _LIBRARIES


def _version(tensor: Tensor) -> tuple[int | None, float]:
    """The count of changes in place, and a sum, since changes of ``.data`` are not counted."""
    total = tensor.detach().sum(dtype=torch.float64) if tensor.is_floating_point() else 0.0
    return (None if tensor.is_inference() else tensor._version), float(total)


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same bits: a NaN equals itself."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if torch.equal(first, second):
        return True
    if not (first.is_floating_point() or first.is_complex()):
        return False
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _flat(container: Any) -> list[Any]:
    """The items of a container, and of a dict its keys too."""
    if isinstance(container, dict):
        return [*container, *container.values()]
    return list(container)


def _same_items(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(map(_is_same, first, second))


def _is_same(first: Any, second: Any) -> bool:
    if first is second:
        return True
    return type(first) is type(second) and isinstance(first, _VALUES) and first == second


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
