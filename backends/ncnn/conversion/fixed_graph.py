"""An ONNX graph of fixed sizes, for rewrites: constants, shapes, and new nodes and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from backends.contract import Array
from backends.support import RefusedNode

Shape = tuple[int, ...]

STANDARD = ("", "ai.onnx")  # domains of the standard operators
_SMALL = 4096  # elements of a tensor that is computed here, or whose values shape inference needs
_FOLDABLE = """
Add Cast Concat Constant ConstantOfShape Div Expand Gather Identity Mul Neg Range Reshape Slice
Squeeze Sub Unsqueeze
"""


@dataclass(frozen=True)
class Origin:
    """A node of the segment, by what its user calls it.

    Attributes:
        operator: its ONNX type.
        name: of the node; may be empty.
        inputs: names of its tensors that are computed.
        outputs: names of its tensors that are used.
        number: of the node in the segment.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    number: int = 0

    def refused(self, reason: str) -> RefusedNode:
        """The node as one that ncnn does not take."""
        name = self.name or f"number {self.number}"
        return RefusedNode(name, self.operator, reason, next(iter(self.outputs), ""))

    def __str__(self) -> str:
        names = ", ".join(f"'{name}'" for name in self.outputs)
        tensors = f"tensor{'s' * (len(self.outputs) > 1)} {names}"
        return (
            f"{self.operator} {self.name!r} ({tensors})"
            if self.name
            else (f"{self.operator} ({tensors})")
        )


class FixedGraph:
    """A model whose inputs have fixed sizes, and that is edited in place.

    Each node carries the number of the node that it stems from in its ``doc_string``: what a
    rewrite makes of a node is named after that node.
    """

    def __init__(
        self, model: onnx.ModelProto, input_shapes: Mapping[str, Shape], half: bool = False
    ) -> None:
        """Fix the sizes of the inputs.

        Args:
            model: that is edited.
            input_shapes: of each graph input that is no weight.
            half: whether the net computes with half precision, which lacks large numbers.
        """
        self.model = model
        self.half = half
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        _fix_inputs(model.graph, input_shapes, self._weights)
        _number_nodes(model.graph)
        self._names = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self._folded: dict[str, Array | None] = {}
        self._declared = {value.name: value for value in model.graph.value_info}
        self.refresh()
        self.origins = {
            node.doc_string: Origin(
                node.op_type,
                node.name,
                tuple(name for name in node.input if name and name not in self._weights),
                tuple(name for name in node.output if is_used(name, self)),
                int(node.doc_string),
            )
            for node in model.graph.node
        }

    def refresh(self) -> None:
        """Infer types and shapes again, after an edit."""
        self._types = _infer_types(self.model, self._declared)
        self._producers = {name: node for node in self.model.graph.node for name in node.output}
        self.uses = Counter(
            name for node in self.model.graph.node for name in (*node.input, *read_by_bodies(node))
        )
        self.outputs = {value.name for value in self.model.graph.output}
        self._varying: set[str] | None = None

    @property
    def opset(self) -> int:
        """The version of the standard operators."""
        imports: Iterable[Any] = self.model.opset_import
        versions = (item.version for item in imports if item.domain in STANDARD)
        return int(next(versions, 0))

    def origin(self, node: onnx.NodeProto) -> Origin:
        """The node of the segment that a node stems from."""
        return self.origins[node.doc_string]

    def shape(self, name: str) -> Shape | None:
        """The sizes of a tensor; None where they are not known."""
        if name in self._weights:
            return tuple(self._weights[name].dims)
        value = self._types.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return None
        dims = value.type.tensor_type.shape.dim
        known = all(dim.HasField("dim_value") for dim in dims)
        return tuple(dim.dim_value for dim in dims) if known else None

    def element_type(self, name: str) -> int:
        """The ONNX number of a tensor's element type; 0 where it is not known."""
        if name in self._weights:
            return int(self._weights[name].data_type)
        value = self._types.get(name)
        return int(value.type.tensor_type.elem_type) if value is not None else 0

    def is_float(self, name: str) -> bool:
        """Whether a tensor is float32, the only type that ncnn computes with."""
        return self.element_type(name) == onnx.TensorProto.FLOAT

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that computes a tensor."""
        return self._producers.get(name)

    def constant(self, name: str) -> Array | None:
        """The value of a tensor that depends on no input; None for others.

        The size of a tensor is a constant too, since all sizes are fixed.
        """
        if name in self._weights:
            return numpy_helper.to_array(self._weights[name])
        if name not in self._folded:
            self._folded[name] = None  # a cycle ends here
            self._folded[name] = self._compute(name)
        return self._folded[name]

    def is_constant(self, name: str) -> bool:
        """Whether ``constant`` has a value."""
        return name in self._weights or self.constant(name) is not None

    def _compute(self, name: str) -> Array | None:
        node = self._producers.get(name)
        if node is None or node.domain not in STANDARD:
            return None
        if node.op_type in ("Shape", "Size"):
            return self._sizes(node)
        if node.op_type not in _FOLDABLE.split():
            return None
        values = {text: self.constant(text) for text in node.input if text}
        small = [value for value in values.values() if value is not None and value.size <= _SMALL]
        if len(small) < len(values) or prod(self.shape(name) or (1,)) > _SMALL:
            return None
        return self._evaluate(node, values)

    def _sizes(self, node: onnx.NodeProto) -> Array | None:
        shape = self.shape(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Size":
            return np.array(prod(shape), np.int64)
        end = attribute(node, "end", len(shape))
        return np.array(shape[attribute(node, "start", 0) : end], np.int64)

    def _evaluate(self, node: onnx.NodeProto, values: Mapping[str, Array | None]) -> Array | None:
        feeds: dict[str, Any] = dict(values)
        outputs: Any = ReferenceEvaluator(self.as_model(node, list(values))).run(None, feeds)
        return np.asarray(outputs[0])

    def as_model(self, node: onnx.NodeProto, inputs: Sequence[str]) -> onnx.ModelProto:
        """A node with these inputs as a model of its own, to compute its tensors."""
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_value_info(name, onnx.TypeProto()) for name in inputs],
            [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
        )
        return helper.make_model(graph, opset_imports=self.model.opset_import)

    def new_name(self, base: str) -> str:
        """A name that no tensor has."""
        numbered = (f"{base}.{number}" for number in count())
        name = next(name for name in numbered if name not in self._names)
        self._names.add(name)
        return name

    def add_constant(self, value: Array) -> str:
        """Add an initializer and return its name."""
        name = self.new_name("constant")
        self.add_weight(name, value)
        return name

    def add_weight(self, name: str, value: Array) -> None:
        """Add an initializer of a name that no other has."""
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self.model.graph.initializer.append(tensor)
        self._weights[name] = tensor

    def node(
        self,
        like: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        output: str,
        **attributes: Any,
    ) -> onnx.NodeProto:
        """A new node that stems from the same node of the segment as ``like``."""
        node = helper.make_node(operator, inputs, [output], name=like.name, **attributes)
        node.doc_string = like.doc_string
        return node

    def replace_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Take these nodes instead of all, without those that no output needs."""
        kept = _needed(list(nodes), self.outputs)
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self._folded.clear()
        self.refresh()

    def is_varying(self, name: str) -> bool:
        """Whether the values of a tensor depend on an input; sizes of tensors are fixed."""
        if self._varying is None:
            self._varying = {value.name for value in self.model.graph.input}
            for node in self.model.graph.node:
                read = {*node.input, *read_by_bodies(node)}
                outputs = [name for name in node.output if name]
                if read & self._varying and not all(map(self.is_constant, outputs)):
                    self._varying.update(outputs)
        return name in self._varying


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, or the default."""
    present = next((item for item in node.attribute if item.name == name), None)
    return default if present is None else helper.get_attribute_value(present)


def is_used(name: str, graph: FixedGraph) -> bool:
    """Whether a node reads a tensor, or the graph returns it."""
    return bool(name) and (graph.uses[name] > 0 or name in graph.outputs)


def _needed(nodes: list[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            needed.update(read_by_bodies(node))
            kept.append(node)
    return kept[::-1]


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node, such as the branches of an If."""
    return [
        graph
        for item in node.attribute
        for graph in ([item.g] if item.type == onnx.AttributeProto.GRAPH else item.graphs)
    ]


def read_by_bodies(node: onnx.NodeProto) -> set[str]:
    """All names that the graphs inside a node read."""
    return {name for graph in bodies(node) for name in _read_names(graph)}


def _read_names(graph: onnx.GraphProto) -> set[str]:
    names = {name for node in graph.node for name in (*node.input, *read_by_bodies(node))}
    return names | {value.name for value in graph.output}


def _fix_inputs(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], weights: Iterable[str]
) -> None:
    known = set(weights)
    kept = [value for value in graph.input if value.name not in known]
    for value in kept:
        if value.name in shapes:
            _set_shape(value, shapes[value.name])
    del graph.input[:]
    graph.input.extend(kept)


def _set_shape(value: onnx.ValueInfoProto, shape: Shape) -> None:
    tensor_type = value.type.tensor_type
    tensor_type.ClearField("shape")
    tensor_type.shape.SetInParent()
    for size in shape:
        tensor_type.shape.dim.add().dim_value = size


def _number_nodes(graph: onnx.GraphProto) -> None:
    for number, node in enumerate(graph.node):
        node.doc_string = str(number)


def _infer_types(
    model: onnx.ModelProto, declared: Mapping[str, onnx.ValueInfoProto]
) -> dict[str, onnx.ValueInfoProto]:
    """The type of each tensor, inferred without the weights.

    What a node of another domain computes is what the model declares, and so is what depends on it.
    """
    bare = onnx.ModelProto()
    bare.ir_version = model.ir_version
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    graph = bare.graph
    graph.name = "bare"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    for output in model.graph.output:
        graph.output.add().name = output.name
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    types = _inferred(bare)
    odd = (name for node in graph.node if node.domain not in STANDARD for name in node.output)
    unknown = [declared[name] for name in odd if name not in types and name in declared]
    if unknown:
        graph.value_info.extend(unknown)
        types = _inferred(bare)
    return types


def _inferred(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
