"""Marks: names for the tensors at which a model can be cut.

On a function or method::

    @mark("yolo_head", inputs=["pred_maps"], outputs=["boxes", "scores"])
    def decode(self, pred_maps): ...

gives the points ``yolo_head:input.pred_maps.0`` and so on, and ``yolo_head:output.boxes``. In the
middle of a forward, ``x = mark_here("stem", x)`` gives the point ``stem:output``.

A mark is the identity, except inside ``exporting()``, where it becomes a node of the exported
graph, and inside ``capture()``, which records the marked tensors. Calls are counted within one such
block: ``yolo_head[1]:input`` is the second call. ``torch.compile`` and a plain ``torch.export`` see
no marks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from deploy.export.mark_session import (
    MarkError,
    MarkSession,
    active_session,
    capture,
    check_containers,
    exporting,
    restart,
)
from deploy.export.nested_tensors import iter_tensors, replace_children
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
    """Mark the tensors that go into a function and those that it returns.

    Tensors may have any shape and dtype, and may be nested in lists, tuples, dicts, dataclasses and
    classes that are registered with ``torch.utils._pytree``.

    Args:
        name: the mark's name. Functions with one name count as calls of one mark.
        inputs: the parameters to mark. By default all that hold tensors, without self and cls.
        outputs: one name for the whole result (a string or a list of one), or one for each
            element of the returned tuple or list. By default the mark's name.

    Returns:
        A decorator, which returns a function with the same signature and result.

    Raises:
        MarkError: ``inputs`` names something that is no parameter, ``outputs`` is empty or repeats
            a name, or the decorator is above ``@staticmethod`` or the like. In a call while
            exporting or capturing: an input holds no tensor and is not None, or the number of
            results is not that of ``outputs``.
        PointError: the name cannot be part of a point.

    Examples:
        >>> import torch
        >>> @mark("head", inputs=["maps"], outputs=["boxes", "scores"])
        ... def head(maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        ...     return maps[0] + 1, maps[0] * 2
        >>> with capture() as values:
        ...     boxes, scores = head([torch.ones(2)])
        >>> list(values)
        ['head:input.maps.0', 'head:output.boxes', 'head:output.scores']
    """
    check_name(name)
    output_names = [outputs or name] if isinstance(outputs, str | None) else list(outputs)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _signature(name, function)
        _check_inputs(name, inputs or (), signature)
        _check_outputs(name, output_names)

        @functools.wraps(function)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            session = active_session()
            if session is None:
                return function(*args, **kwargs)
            call = session.begin_call(name)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for path in _inputs_to_mark(name, inputs, bound.arguments):
                value = bound.arguments[path]
                bound.arguments[path] = session.mark_tensors(value, name, call, "input", path)
            result = function(*bound.args, **bound.kwargs)
            return _mark_result(session, result, name, call, output_names)  # type: ignore[no-any-return]

        return marked

    return decorate


def mark_here(name: str, value: R) -> R:
    """Mark a tensor in the middle of a forward.

    The point is ``name:output``. Write ``x = mark_here("x", x)``: only the returned value is
    marked.

    Args:
        name: the mark's name.
        value: a tensor of any shape and dtype, or a list, tuple, dict or dataclass that holds some.

    Returns:
        ``value``; while exporting, the marked value.

    Raises:
        MarkError: while exporting or capturing, ``value`` holds no tensor.
        PointError: while exporting or capturing, the name cannot be part of a point.

    Examples:
        >>> import torch
        >>> with capture() as values:
        ...     x = mark_here("stem", torch.zeros(1, 3))
        >>> values
        {'stem:output.stem': tensor([[0., 0., 0.]])}
    """
    session = active_session()
    if session is None:
        return value
    check_name(name)
    if not any(iter_tensors(value, name)):
        check_containers(value, f"value of mark '{name}'")
        raise _no_tensors(name, "value", value)
    call = session.begin_call(name)
    return session.mark_tensors(value, name, call, "output", name)  # type: ignore[no-any-return]


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


def _inputs_to_mark(
    name: str, inputs: Sequence[str] | None, arguments: dict[str, Any]
) -> list[str]:
    """The parameters to mark in this call."""
    with_tensors = [path for path, value in arguments.items() if any(iter_tensors(value, path))]
    if inputs is None:
        return [path for path in with_tensors if path not in ("self", "cls")]
    for path in inputs:
        if path not in with_tensors and arguments[path] is not None:
            check_containers(arguments[path], f"input '{path}' of mark '{name}'")
            raise _no_tensors(name, f"input '{path}'", arguments[path])
    return [path for path in inputs if path in with_tensors]


def _no_tensors(name: str, what: str, value: object) -> MarkError:
    return MarkError(
        f"{what} of mark '{name}'",
        expected="tensors, also within lists, tuples, dicts and dataclasses",
        got=f"{type(value).__name__} without any",
    )


def _mark_result(
    session: MarkSession, result: Any, name: str, call: int, outputs: list[str]
) -> Any:
    if len(outputs) == 1:
        return session.mark_tensors(result, name, call, "output", outputs[0])
    if not isinstance(result, list | tuple) or len(result) != len(outputs):
        raise MarkError(
            f"outputs of mark '{name}'",
            expected=f"a tuple or list of {len(outputs)} ({', '.join(outputs)})",
            got=f"{type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, list | tuple) else ""),
        )
    return _mark_elements(session, result, name, call, outputs)


def _mark_elements(
    session: MarkSession, result: Any, name: str, call: int, outputs: list[str]
) -> Any:
    """The returned tuple or list with each element marked under its own name."""
    named = dict(zip(outputs, result, strict=True))
    marked = session.mark_tensors(named, name, call, "output", "")
    if marked is named:
        return result
    return replace_children(result, marked)
