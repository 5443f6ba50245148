"""Marks on the modules of somebody else's model, by their paths."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from deploy.export.marks import MarkError, Session, active_session
from deploy.export.nested_tensors import iter_tensors
from deploy.graph.points import check_name
from deploy.recipe.schema import MarkRecipe


@contextmanager
def mark_modules(model: nn.Module, marks: Mapping[str, MarkRecipe]) -> Iterator[None]:
    """Let modules have marks, as if ``@mark`` stood on their ``forward``.

    Several calls of a module in one forward are counted as those of a function are.

    Raises:
        MarkError: a path that leads to no module.
        PointError: a name that cannot be written in a point.
    """
    with ExitStack() as stack:
        for name, mark in marks.items():
            check_name(name)
            hook = _Hook(name, mark.at, _find(model, name, mark.module))
            before = hook.module.register_forward_pre_hook(hook.before, with_kwargs=True)
            stack.callback(before.remove)
            after = hook.module.register_forward_hook(hook.after, always_call=True)
            stack.callback(after.remove)
        yield


class _Hook:
    """One module's mark."""

    def __init__(self, name: str, at: str, module: nn.Module) -> None:
        self.module = module
        self._name = name
        self._at = at
        self._signature = inspect.signature(module.forward)
        # those that have begun and not ended: modules may recurse, and captures begin within one
        self._calls: WeakKeyDictionary[Session, list[int]] = WeakKeyDictionary()

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        session = active_session()
        if session is None:
            return None
        call = session.enter(self._name)
        self._calls.setdefault(session, []).append(call)
        if self._at == "output":
            return None
        bound = self._signature.bind(*args, **kwargs)
        for path, value in bound.arguments.items():
            if any(iter_tensors(value, path)):
                passed = session.pass_through(value, self._name, call, "input", path)
                bound.arguments[path] = passed
        return bound.args, bound.kwargs

    def after(self, module: nn.Module, args: Any, result: Any) -> Any:
        """Also after an error, when ``result`` is None."""
        session = active_session()
        calls = self._calls.get(session) if session is not None else None
        if session is None or not calls:
            return None
        call = calls.pop()
        if self._at == "input":
            return None
        return session.pass_through(result, self._name, call, "output", self._name)


def _find(model: nn.Module, name: str, path: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        near = difflib.get_close_matches(path, [key for key in modules if key], n=3, cutoff=0.4)
        raise MarkError(
            f"model.marks.{name}.module",
            expected="the path of a module of the model",
            got=repr(path),
            do=f"Did you mean {' or '.join(near)}?" if near else "See model.named_modules().",
        )
    return modules[path]
