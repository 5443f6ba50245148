"""Marks: names for the tensors at which a model can be cut.

On a function or method::

    @mark("yolo_head", inputs=["pred_maps"], outputs=["boxes", "scores"])
    def decode(self, pred_maps): ...

gives ``yolo_head:input.pred_maps.0`` and so on, and ``yolo_head:output.boxes``. In the middle of
a forward ``x = mark_here("stem", x)`` gives ``stem:output``. A mark does nothing at all, except
inside ``exporting()``, where it is a node of the exported graph, and inside ``capture()``, where
the tensors are recorded. Calls are counted within one such block: ``yolo_head[1]:input`` is the
second. Under ``torch.compile`` and a plain ``torch.export`` marks are not there either.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from deploy.export.marks import MarkError, Session, active_session, capture, exporting, restart
from deploy.export.nested_tensors import iter_tensors
from deploy.graph.points import check_name

__all__ = [
    "MarkError",
    "capture",
    "exporting",
    "mark",
    "mark_here",
    "restart",
]

P = ParamSpec("P")


R = TypeVar("R")


def mark(
    name: str, inputs: Sequence[str] | None = None, outputs: str | Sequence[str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark the tensors that go into a function and come out of it.

    Args:
        name: the mark's name; functions of the same name count as calls of one mark.
        inputs: the parameters to mark. By default all that hold tensors, without self or cls.
        outputs: one name for the whole result (a string or a list of one), or one for each
            element of the tuple or list that is returned. By default the mark's name.

    Raises:
        MarkError: ``inputs`` names what is no parameter, ``outputs`` repeats a name, or the mark
            stands above ``@staticmethod`` or the like. While exporting: an input that holds no
            tensor and is not None, or another number of results than ``outputs``.
        PointError: the name cannot be written in a point.
    """
    check_name(name)
    roots = [outputs or name] if isinstance(outputs, str | None) else list(outputs)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _signature(name, function)
        _check_inputs(name, inputs or (), signature)
        _check_outputs(name, roots)

        @functools.wraps(function)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            session = active_session()
            if session is None:
                return function(*args, **kwargs)
            call = session.enter(name)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for path in _chosen(name, inputs, bound.arguments):
                value = bound.arguments[path]
                bound.arguments[path] = session.pass_through(value, name, call, "input", path)
            result = function(*bound.args, **bound.kwargs)
            return _mark_result(session, result, name, call, roots)  # type: ignore[no-any-return]

        return marked

    return decorate


def mark_here(name: str, value: R) -> R:
    """Mark a tensor, or a nested value that holds some, in the middle of a forward.

    The point is ``name:output``, its paths begin with ``name``. Write ``x = mark_here("x", x)``:
    only the returned value is marked.

    Raises:
        MarkError: while exporting, ``value`` holds no tensor.
        PointError: the name cannot be written in a point.
    """
    session = active_session()
    if session is None:
        return value
    check_name(name)
    if not any(iter_tensors(value, name)):
        raise _no_tensors(name, "value", value)
    call = session.enter(name)
    return session.pass_through(value, name, call, "output", name)  # type: ignore[no-any-return]


def _signature(name: str, function: Callable[..., object]) -> inspect.Signature:
    if not callable(function) or isinstance(function, staticmethod | classmethod | type):
        raise MarkError(
            f"mark '{name}'",
            expected="a function or method",
            got=type(function).__name__,
            do="Write @mark below @staticmethod, @classmethod or @property.",
        )
    return inspect.signature(function)


def _check_inputs(name: str, inputs: Sequence[str], signature: inspect.Signature) -> None:
    unknown = [path for path in inputs if path not in signature.parameters]
    if unknown:
        raise MarkError(
            f"inputs of mark '{name}'",
            expected=f"parameters of the function ({', '.join(signature.parameters) or 'none'})",
            got=", ".join(unknown),
        )


def _check_outputs(name: str, outputs: Sequence[str]) -> None:
    if not outputs or len(set(outputs)) < len(outputs):
        raise MarkError(
            f"outputs of mark '{name}'", expected="distinct names", got=str(list(outputs))
        )


def _chosen(name: str, inputs: Sequence[str] | None, arguments: dict[str, Any]) -> list[str]:
    """The parameters to mark in this call."""
    holding = [path for path, value in arguments.items() if any(iter_tensors(value, path))]
    if inputs is None:
        return [path for path in holding if path not in ("self", "cls")]
    for path in inputs:
        if path not in holding and arguments[path] is not None:
            raise _no_tensors(name, f"input '{path}'", arguments[path])
    return [path for path in inputs if path in holding]


def _no_tensors(name: str, what: str, value: object) -> MarkError:
    return MarkError(
        f"{what} of mark '{name}'",
        expected="tensors, also within lists, tuples, dicts and dataclasses",
        got=f"{type(value).__name__} without any",
    )


def _mark_result(session: Session, result: Any, name: str, call: int, roots: list[str]) -> Any:
    if len(roots) == 1:
        return session.pass_through(result, name, call, "output", roots[0])
    if not isinstance(result, list | tuple) or len(result) != len(roots):
        raise MarkError(
            f"outputs of mark '{name}'",
            expected=f"a tuple or list of {len(roots)} ({', '.join(roots)})",
            got=f"{type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, list | tuple) else ""),
        )
    return _pair(session, result, name, call, roots)


def _pair(session: Session, result: Any, name: str, call: int, roots: list[str]) -> Any:
    named = dict(zip(roots, result, strict=True))
    marked = session.pass_through(named, name, call, "output", "")
    if marked is named:
        return result
    if hasattr(result, "_fields"):
        return type(result)(*marked.values())
    return type(result)(marked.values())
