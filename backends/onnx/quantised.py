"""Whether an ONNX file is quantised already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from backends.onnx.model_file import read_without_weights

_QUANTISED = ("QLinear", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_INTEGER = ("ConvInteger", "MatMulInteger")


def is_quantised(path: Path) -> bool:
    """Whether any node of the file, its bodies and its functions computes with quantised values."""
    model = read_without_weights(path)
    nodes = (model.graph.node, *(function.node for function in model.functions))
    kinds = (node.op_type for listed in nodes for node in _all_nodes(listed))
    return any(kind.startswith(_QUANTISED) or kind in _INTEGER for kind in kinds)


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of the bodies of If, Loop and Scan."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _all_nodes(attribute.g.node)
