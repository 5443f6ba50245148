"""bfloat16 by float32, for which ONNX Runtime has kernels on the CPU.

Whatever a node makes in bfloat16 is computed in float32, rounded to bfloat16 and brought back, as
a GPU does that keeps its sums in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_BF16, _FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT
_TYPED = {
    "Cast": "to",
    "EyeLike": "dtype",
    "RandomUniformLike": "dtype",
    "RandomNormalLike": "dtype",
}
# these only pass on what has been rounded already
_EXACT = frozenset({"Identity", "Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze"})


def emulate(graph: onnx.GraphProto) -> None:
    """Rewrite a graph whose types have been inferred, and the graphs inside its nodes."""
    kinds = [*graph.input, *graph.value_info, *graph.output]
    halves = {value.name for value in kinds if value.type.tensor_type.elem_type == _BF16}
    _emulate_weights(graph)
    nodes = [made for node in graph.node for made in _emulated(node, halves)]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in kinds:
        if value.name in halves:
            value.type.tensor_type.elem_type = _FLOAT


def _emulate_weights(graph: onnx.GraphProto) -> None:
    for weight in graph.initializer:
        if weight.data_type == _BF16:
            weight.CopyFrom(_widened(weight))


def _emulated(node: onnx.NodeProto, halves: set[str]) -> Iterator[onnx.NodeProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            emulate(attribute.g)
        elif attribute.HasField("t") and attribute.t.data_type == _BF16:
            attribute.t.CopyFrom(_widened(attribute.t))
        elif attribute.name == _TYPED.get(node.op_type) and attribute.i == _BF16:
            attribute.i = _FLOAT
    made = halves.intersection(node.output) if node.op_type not in _EXACT else set()
    for number, name in enumerate(node.output):
        if name in made:
            node.output[number] = f"{name}/exact"
    yield node
    for name in made:
        yield helper.make_node("Cast", [f"{name}/exact"], [f"{name}/half"], to=_BF16)
        yield helper.make_node("Cast", [f"{name}/half"], [name], to=_FLOAT)


def _widened(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
