"""Marks on modules of a model by their paths, for code that cannot be edited."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from deploy.export.mark_session import MarkError, MarkSession, active_session
from deploy.export.module_kinds import WrappedModule
from deploy.export.nested_tensors import iter_tensors
from deploy.graph.points import check_name
from deploy.recipe.schema import MarkRecipe


@contextmanager
def mark_modules(model: nn.Module, marks: Mapping[str, MarkRecipe]) -> Iterator[None]:
    """Mark modules inside the block, as ``@mark`` on their ``forward`` would.

    Calls of a module are counted like those of a marked function.

    Args:
        model: the model.
        marks: the path of a module and the side to mark, by the mark's name.

    Raises:
        MarkError: a path leads to no module.
        PointError: a name cannot be part of a point.
    """
    with ExitStack() as stack:
        for name, mark in marks.items():
            check_name(name)
            module = _find_module(model, name, mark.module)
            hooks = _MarkHooks(name, mark.at, module)
            before = module.register_forward_pre_hook(hooks.before, with_kwargs=True)
            stack.callback(before.remove)
            after = module.register_forward_hook(hooks.after, always_call=True)
            stack.callback(after.remove)
        yield


class _MarkHooks:
    """The forward hooks that mark one module's inputs and outputs."""

    def __init__(self, name: str, at: str, module: nn.Module) -> None:
        self._name = name
        self._at = at
        self._signature = inspect.signature(module.forward)
        # stacks of running calls: modules may recurse, and a session may begin within a call
        self._running: WeakKeyDictionary[MarkSession, list[int]] = WeakKeyDictionary()

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        session = active_session()
        if session is None:
            return None
        call = session.begin_call(self._name)
        self._running.setdefault(session, []).append(call)
        if self._at == "output":
            return None
        bound = self._signature.bind(*args, **kwargs)
        for path, value in bound.arguments.items():
            if any(iter_tensors(value, path)):
                marked = session.mark_tensors(value, self._name, call, "input", path)
                bound.arguments[path] = marked
        return bound.args, bound.kwargs

    def after(self, module: nn.Module, args: Any, result: Any) -> Any:
        """Called after an error too; ``result`` is None then."""
        session = active_session()
        calls = self._running.get(session) if session is not None else None
        if session is None or not calls:
            return None
        call = calls.pop()
        if self._at == "input":
            return None
        return session.mark_tensors(result, self._name, call, "output", self._name)


def _find_module(model: nn.Module, name: str, path: str) -> nn.Module:
    modules = _modules_by_path(model, name)
    if path not in modules:
        near = difflib.get_close_matches(path, [key for key in modules if key], n=3, cutoff=0.4)
        raise MarkError(
            f"model.marks.{name}.module",
            expected="the path of a module of the model",
            got=repr(path),
            do=f"Did you mean {' or '.join(near)}?" if near else "See model.named_modules().",
        )
    return modules[path]


def _modules_by_path(model: nn.Module, name: str) -> dict[str, nn.Module]:
    if not isinstance(model, WrappedModule):
        return dict(model.named_modules(remove_duplicate=False))
    if model.torchscript:
        raise MarkError(
            f"model.marks.{name} is on a TorchScript or quantized module, in which marks leave no "
            "trace",
            do="Deploy it without marks and cuts, and then cut the ONNX file of that run, "
            "<bundle>.work/export/exported.onnx, by tensor names: +model=onnx model.file=FILE.",
        )
    return {**dict(model.wrapped.named_modules(remove_duplicate=False)), "": model}
