"""Parts of a graph as models of their own, to convert them apart from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from backends.contract import Specs, TensorSpec
from backends.ncnn.conversion.fixed_graph import FixedGraph, is_used

# elements of constants whose values decide how a node is converted: axes and sizes, and numbers
_INTEGERS, _NUMBERS = 64, 8


def signature(graph: FixedGraph, node: onnx.NodeProto) -> object:
    """What decides how a node is converted: of nodes with equal ones, one is tried for all."""
    attributes = tuple(sorted(item.SerializeToString() for item in node.attribute))
    inputs = tuple((graph.shape(name), _constant_key(graph, name)) for name in node.input)
    outputs = tuple((graph.shape(name), is_used(name, graph)) for name in node.output)
    return node.domain, node.op_type, attributes, inputs, outputs


def _constant_key(graph: FixedGraph, name: str) -> object:
    value = graph.constant(name)
    if value is None:
        return False
    decides = value.size <= (_INTEGERS if value.dtype.kind in "iub" else _NUMBERS)
    return value.tobytes() if decides else True


@dataclass(frozen=True)
class Piece:
    """A part of a graph as a model of its own."""

    model: onnx.ModelProto
    inputs: Specs
    outputs: Specs

    @staticmethod
    def number_of(tensor: str) -> int:
        """The number of the node of the whole graph that a tensor of ``apart`` belongs to.

        What does not depend on an input of the graph has no number: all nodes share it.
        """
        return int(tensor.partition(":")[0])

    @classmethod
    def apart(cls, graph: FixedGraph, numbers: Sequence[int]) -> Piece:
        """Nodes beside each other, each with inputs and outputs of its own."""
        builder = _Builder(graph)
        for number in numbers:
            node = onnx.NodeProto()
            node.CopyFrom(graph.model.graph.node[number])
            for position, name in enumerate(node.input):
                node.input[position] = builder.read(name, f"{number}:") if name else ""
            outputs = list(node.output)
            for position, name in enumerate(outputs):
                node.output[position] = f"{number}:{name}" if name else ""
            builder.add(node)
            for name in outputs:
                if is_used(name, graph):
                    builder.write(name, f"{number}:")
        return builder.piece()

    @classmethod
    def connected(cls, graph: FixedGraph, numbers: Sequence[int], last: int) -> Piece:
        """The nodes that a node needs, with its outputs."""
        builder = _Builder(graph)
        inside = {name for number in numbers for name in graph.model.graph.node[number].output}
        for number in numbers:
            for name in graph.model.graph.node[number].input:
                if name and name not in inside:
                    builder.read(name, "")
            builder.add(graph.model.graph.node[number])
        for name in graph.model.graph.node[last].output:
            if is_used(name, graph):
                builder.write(name, "")
        return builder.piece()


class _Builder:
    """Collects the nodes, weights, inputs and outputs of a piece."""

    def __init__(self, graph: FixedGraph) -> None:
        self._graph = graph
        self._model = onnx.ModelProto()
        self._model.ir_version = graph.model.ir_version
        self._model.opset_import.extend(graph.model.opset_import)
        self._model.functions.extend(graph.model.functions)
        self._model.graph.name = "piece"
        self._inputs: dict[str, TensorSpec] = {}
        self._outputs: dict[str, TensorSpec] = {}
        self._constants: set[str] = set()

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node."""
        self._model.graph.node.append(node)

    def read(self, name: str, prefix: str) -> str:
        """Add a tensor that a node reads, as a weight or as an input; return its name here."""
        if not self._graph.is_varying(name):
            return self._read_constant(name, ":" if prefix else "")
        self._inputs.setdefault(f"{prefix}{name}", self._spec(name, prefix))
        return f"{prefix}{name}"

    def _read_constant(self, name: str, prefix: str) -> str:
        """Add a weight, or the nodes that compute a tensor from weights alone; once for all."""
        known = f"{prefix}{name}"
        if known in self._constants:
            return known
        self._constants.add(known)
        value, producer = self._graph.constant(name), self._graph.producer(name)
        if value is not None:
            self._model.graph.initializer.append(numpy_helper.from_array(value, known))
        elif producer is not None:
            node = onnx.NodeProto()
            node.CopyFrom(producer)
            node.input[:] = [
                self._read_constant(item, prefix) if item else "" for item in node.input
            ]
            node.output[:] = [f"{prefix}{item}" if item else "" for item in node.output]
            self._constants.update(node.output)
            self.add(node)
        return known

    def write(self, name: str, prefix: str) -> None:
        """Make a tensor an output."""
        self._outputs[f"{prefix}{name}"] = self._spec(name, prefix)

    def piece(self) -> Piece:
        """The model of what was added."""
        for specs, values in (
            (self._inputs, self._model.graph.input),
            (self._outputs, self._model.graph.output),
        ):
            for spec in specs.values():
                kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
                values.append(helper.make_tensor_value_info(spec.name, kind, spec.typical))
        return Piece(self._model, tuple(self._inputs.values()), tuple(self._outputs.values()))

    def _spec(self, name: str, prefix: str) -> TensorSpec:
        dtype = helper.tensor_dtype_to_np_dtype(self._graph.element_type(name) or 1).name
        return TensorSpec(f"{prefix}{name}", dtype, self._graph.shape(name) or ())
