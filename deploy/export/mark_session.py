"""Mark sessions: while one is active, marks leave nodes in an export or values in a capture.

Without an active session a mark does nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

from backends.contract import DeployError
from deploy.export.nested_tensors import replace_tensors, unknown_containers
from deploy.graph.points import MarkedTensor, Side


class MarkError(DeployError):
    """A mark that does not fit its function, or names two tensors alike.

    Examples:
        >>> from deploy.mark import MarkError, mark
        >>> try:
        ...     mark("head", inputs=["maps"])(lambda image: image)
        ... except MarkError as error:
        ...     print(error)
        inputs of mark 'head': expected parameters of the function (image), got maps
    """


class _Visitor(Protocol):
    """What a session does with a marked tensor."""

    def __call__(self, tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor: ...


class MarkSession:
    """One export or capture: counts the calls of each mark and passes its tensors to a visitor.

    Attributes:
        marked: the marked tensors, in the order of execution.
    """

    def __init__(self, visitor: _Visitor) -> None:
        self._visitor = visitor
        self._calls: Counter[str] = Counter()
        self.marked: list[MarkedTensor] = []

    def restart(self) -> None:
        """Forget all calls and tensors so far."""
        self._calls.clear()
        self.marked.clear()

    def begin_call(self, mark: str) -> int:
        """Count a call of the mark, and return its number, from 0."""
        self._calls[mark] += 1
        return self._calls[mark] - 1

    def mark_tensors(self, value: Any, mark: str, call: int, side: Side, path: str) -> Any:
        """``value`` with each of its tensors replaced by the visitor's result.

        Raises:
            MarkError: two tensors inside ``value`` have one path, or all lie in a container of an
                unknown class.
            ContainerError: a container cannot be rebuilt with the marked tensors.
        """
        names: set[MarkedTensor] = set()

        def visit(path: str, tensor: torch.Tensor) -> torch.Tensor:
            at = MarkedTensor(mark, call, side, path)
            if at in names:
                raise MarkError(f"two tensors are called {at}", do="Rename one of their keys.")
            names.add(at)
            self.marked.append(at)
            return self._visitor(tensor, at)

        marked = replace_tensors(value, visit, path)
        if not names:
            check_containers(value, f"{side} of mark '{mark}'")
        return marked


def check_containers(value: Any, what: str) -> None:
    """Refuse tensors that a mark does not see.

    Raises:
        MarkError: some lie in a container of an unknown class.
    """
    for container in unknown_containers(value, ""):
        raise MarkError(
            what,
            expected="tensors, also within lists, tuples, dicts, dataclasses and classes that "
            "torch.utils._pytree knows",
            got=f"a {container.type.__name__}, whose tensors would be lost",
            do=container.remedy,
        )


_session: ContextVar[MarkSession | None] = ContextVar("marks", default=None)


def active_session() -> MarkSession | None:
    """The active session, or None; always None while Dynamo compiles."""
    # Dynamo folds this test to a constant and never reads the context variable.
    return None if torch.compiler.is_dynamo_compiling() else _session.get()


@contextmanager
def exporting() -> Iterator[list[MarkedTensor]]:
    """Let marks leave a ``deploy::Mark`` node in the graph that is traced inside the block.

    The node keeps dtype and shape of its tensor. Calls of a mark are counted from 0 within the
    block.

    Yields:
        The marked tensors, in the order in which the trace meets them. The list grows while the
        model is traced.

    Raises:
        MarkError: inside the block, a mark does not fit its function.

    Examples:
        >>> import torch
        >>> from deploy.mark import exporting, mark
        >>> class Net(torch.nn.Module):
        ...     @mark("double", inputs=["x"], outputs=["y"])
        ...     def forward(self, x):
        ...         return 2 * x
        >>> with exporting() as marked:
        ...     program = torch.export.export(Net(), (torch.ones(2),))
        >>> [str(tensor) for tensor in marked]
        ['double:input.x', 'double:output.y']
    """

    def leave_node(tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor:
        return _mark_node(tensor, at, len(session.marked))

    session = MarkSession(leave_node)
    with _activate(session):
        yield session.marked


def restart() -> None:
    """Count calls from 0 again and forget the marked tensors; nothing without an active session.

    For exporters that trace ``forward`` more than once: call it at the start of each trace.

    Examples:
        >>> import torch
        >>> from deploy.mark import capture, mark_here, restart
        >>> with capture() as values:
        ...     for size in (1, 2):
        ...         restart()
        ...         result = mark_here("x", torch.ones(size))
        >>> values
        {'x:output.x': tensor([1., 1.])}
    """
    session = active_session()
    if session is not None:
        session.restart()


@contextmanager
def capture() -> Iterator[dict[str, torch.Tensor]]:
    """Record the marked tensors of a model that runs eagerly inside the block.

    Yields:
        A detached copy of each marked tensor, of any shape and dtype, under its point, such as
        ``yolo_head:input.pred_maps.0``. The dict grows while the model runs.

    Raises:
        MarkError: inside the block, a mark does not fit its function.

    Examples:
        >>> import torch
        >>> from deploy.mark import capture, mark_here
        >>> with capture() as values:
        ...     result = mark_here("sum", torch.ones(2) + 1).sum()
        >>> values
        {'sum:output.sum': tensor([2., 2.])}
    """
    values: dict[str, torch.Tensor] = {}

    def record(tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor:
        values[str(at)] = tensor.detach().clone()  # the model may change it in place later
        return tensor

    with _activate(MarkSession(record)):
        yield values


@contextmanager
def _activate(session: MarkSession) -> Iterator[None]:
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


def _mark_node(tensor: torch.Tensor, at: MarkedTensor, number: int) -> torch.Tensor:
    return torch.onnx.ops.symbolic(
        "deploy::Mark",
        (tensor,),
        attrs={
            "mark": at.mark,
            "call": at.call,
            "side": at.side,
            "path": at.path,
            "id": number,  # the exporter merges equal nodes
        },
        dtype=tensor.dtype,
        shape=tensor.shape,
        version=1,
    )
