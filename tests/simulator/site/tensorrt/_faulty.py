"""What is wrong with a graph, as the parser tells it."""

from __future__ import annotations

from dataclasses import dataclass

from ._enums import ErrorCode


@dataclass(frozen=True)
class Fault:
    """One thing that TensorRT does not take; of a node, or of the whole graph."""

    code: ErrorCode
    text: str
    node: int = -1
    name: str = ""
    operator: str = ""
