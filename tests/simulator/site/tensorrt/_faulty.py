"""What is wrong with a graph, as the parser tells it."""

from __future__ import annotations

from dataclasses import dataclass

from ._enums import ErrorCode


@dataclass(frozen=True)
class Fault:
    """One thing that TensorRT does not take; of a node, of an input, or of the whole graph.

    ``function`` is the parser's own that finds it; ``file`` its source, or the input's name.
    """

    code: ErrorCode
    text: str
    node: int = -1
    name: str = ""
    operator: str = ""
    function: str = "parseGraph"
    file: str = "ModelImporter.cpp"
