"""Operators of an ONNX graph whose result among equal values is not defined."""

from __future__ import annotations

from pathlib import Path

from backends.onnx.model_file import read_without_weights

_CHOOSING = frozenset(("ArgMax", "ArgMin", "NonMaxSuppression", "TopK"))


def tie_advice(path: Path, tensor: str) -> str:
    """What to do about a tensor that differs between engines; empty where no order can be why.

    Args:
        path: of the graph.
        tensor: the name of the tensor.
    """
    graph = read_without_weights(path).graph
    producers = {name: node for node in graph.node for name in node.output if name}
    pending, seen = [tensor], set[str]()
    while pending:
        name = pending.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _CHOOSING:
            return (
                f"It depends on {node.op_type} '{node.name}', which may choose any of equal "
                "values: if the sample has some, pass others (model.samples=FILE.npz), or cut "
                "before it and let the host choose."
            )
        pending += node.input
    return ""
