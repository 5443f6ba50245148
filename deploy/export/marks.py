"""What marks do: nothing, but for leaving nodes in an export and values in a capture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

from backends.contract import DeployError
from deploy.export.nested_tensors import replace_tensors
from deploy.graph.points import MarkedTensor, Side


class MarkError(DeployError):
    """A mark that names what its function does not take or return."""


class _Watch(Protocol):
    """What happens to a marked tensor."""

    def __call__(self, tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor: ...


class Session:
    """The calls and tensors that one export or capture has seen so far.

    Attributes:
        seen: the marked tensors in order.
    """

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._calls: Counter[str] = Counter()
        self.seen: list[MarkedTensor] = []

    def restart(self) -> None:
        """Forget what was seen."""
        self._calls.clear()
        self.seen.clear()

    def enter(self, mark: str) -> int:
        """The number of this call of the mark, from 0."""
        self._calls[mark] += 1
        return self._calls[mark] - 1

    def pass_through(self, value: Any, mark: str, call: int, side: Side, path: str) -> Any:
        """``value`` with its tensors marked."""
        known: set[MarkedTensor] = set()

        def visit(path: str, tensor: torch.Tensor) -> torch.Tensor:
            at = MarkedTensor(mark, call, side, path)
            if at in known:
                raise MarkError(f"two tensors are called {at}", do="Rename one of their keys.")
            known.add(at)
            self.seen.append(at)
            return self._watch(tensor, at)

        return replace_tensors(value, visit, path)


_session: ContextVar[Session | None] = ContextVar("marks", default=None)


def active_session() -> Session | None:
    """The export or capture that is going on, if any."""
    # Dynamo folds the first test to a constant and never meets the variable.
    return None if torch.compiler.is_dynamo_compiling() else _session.get()


@contextmanager
def exporting() -> Iterator[list[MarkedTensor]]:
    """Let marks leave a ``deploy::Mark`` node in the graph that is being traced.

    Yields:
        The marked tensors, in the order in which the trace meets them.
    """

    def leave_node(tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor:
        return _mark_node(tensor, at, len(session.seen))

    session = Session(leave_node)
    with _running(session):
        yield session.seen


def restart() -> None:
    """Begin to count again, where one export traces the model's forward more than once."""
    session = active_session()
    if session is not None:
        session.restart()


@contextmanager
def capture() -> Iterator[dict[str, torch.Tensor]]:
    """Record the tensors at every point while a model runs eagerly.

    Yields:
        A copy of each marked tensor under its point, such as ``yolo_head:input.pred_maps.0``.
    """
    values: dict[str, torch.Tensor] = {}

    def record(tensor: torch.Tensor, at: MarkedTensor) -> torch.Tensor:
        values[str(at)] = tensor.detach().clone()  # it may be changed in place later
        return tensor

    with _running(Session(record)):
        yield values


@contextmanager
def _running(session: Session) -> Iterator[None]:
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
