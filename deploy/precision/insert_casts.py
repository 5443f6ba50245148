"""Change the types of the selected nodes' values, and insert Cast nodes where types meet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir

from deploy.graph.index import is_weight
from deploy.graph.nodes import bodies
from deploy.precision.definitions import SHAPE_OPS, HalfType, is_float32
from deploy.precision.node_selection import HalfOperands

Use = tuple[ir.Node, int]
"""A node that reads a value, and the index of that input."""


def insert_casts(
    graph: ir.Graph,
    selected: Mapping[ir.Node, HalfOperands],
    half: HalfType,
    boundary: Collection[ir.Value],
) -> None:
    """Let the selected nodes compute in half.

    The graph's inputs and outputs keep their names, and so do values that exist in one type. Where
    a value exists in both types, the one in fp32 keeps the name.

    Args:
        graph: the graph, changed in place.
        selected: the inputs and outputs of each node that become half.
        half: the type.
        boundary: inputs and outputs of the graph that become half too.
    """
    inserter = _CastInserter(graph, half, frozenset(boundary))
    uses: dict[ir.Value | None, list[Use]] = {}
    produced_in_half = {value for value in graph.inputs if value in boundary}
    for node, operands in selected.items():
        if node.op_type == "Cast" and operands.outputs:
            node.attributes["to"] = ir.AttrInt64("to", half.dtype)
        produced_in_half.update(node.outputs[index] for index in operands.outputs)
        for index in operands.inputs:
            uses.setdefault(node.inputs[index], []).append((node, index))
    for value in dict.fromkeys((*graph.inputs, *uses, *produced_in_half, *graph.outputs)):
        if value is None or not is_float32(value):
            continue
        if is_weight(value):
            inserter.cast_weight(value, uses.get(value, []))
        elif value in produced_in_half:
            inserter.cast_to_fp32(value, uses.get(value, []))
        else:
            inserter.cast_to_half(value, uses.get(value, []))


class _CastInserter:
    """A graph whose values change their types one after the other."""

    def __init__(self, graph: ir.Graph, half: HalfType, boundary: Collection[ir.Value]) -> None:
        self._graph, self._half, self._boundary = graph, half, boundary
        self._names = _all_names(graph)
        self._suffix = half.name

    def cast_weight(self, weight: ir.Value, uses: list[Use]) -> None:
        """Store a weight in half for the ``uses``, and in fp32 too if there are other uses."""
        if not uses or weight.const_value is None:
            return
        value = weight
        if len(uses) < len(weight.uses()) or weight.is_graph_output():
            value = ir.Value(name=self._unique_name(weight, self._suffix), shape=weight.shape)
            _redirect(uses, value)
        value.const_value = _rounded(weight.const_value, self._half, str(value.name))
        value.type = ir.TensorType(self._half.dtype)
        if value is not weight:
            self._graph.register_initializer(value)

    def cast_to_fp32(self, value: ir.Value, uses: list[Use]) -> None:
        """Make a value half, with a cast to fp32 for all readers but the ``uses``."""
        value.type = ir.TensorType(self._half.dtype)
        half_uses = set(uses)
        fp32_uses = [
            (node, index)
            for node, index in value.uses()
            if (node, index) not in half_uses and node.op_type not in SHAPE_OPS
        ]
        is_fp32_output = value.is_graph_output() and value not in self._boundary
        if not fp32_uses and not is_fp32_output:
            return
        in_fp32 = self._insert_cast(value, ir.DataType.FLOAT, "fp32")
        _redirect(fp32_uses, in_fp32)
        if value not in self._boundary:
            value.name, in_fp32.name = self._unique_name(value, self._suffix), value.name
        if is_fp32_output:
            self._replace_output(value, in_fp32)

    def cast_to_half(self, value: ir.Value, uses: list[Use]) -> None:
        """Insert a cast to half for the ``uses`` of a value that stays fp32."""
        is_half_output = value in self._boundary and value.is_graph_output()
        if not uses and not is_half_output:
            return
        in_half = self._insert_cast(value, self._half.dtype, self._suffix)
        _redirect(uses, in_half)
        if is_half_output:
            value.name, in_half.name = self._unique_name(value, "fp32"), value.name
            self._replace_output(value, in_half)

    def _insert_cast(self, value: ir.Value, dtype: ir.DataType, suffix: str) -> ir.Value:
        node = ir.node("Cast", [value], {"to": dtype}, name=self._unique_name(value, suffix))
        (cast,) = node.outputs
        cast.name, cast.type, cast.shape = node.name, ir.TensorType(dtype), value.shape
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, node)
        else:
            self._graph.insert_before(self._graph[0], node)
        return cast

    def _replace_output(self, old: ir.Value, new: ir.Value) -> None:
        for index, value in enumerate(self._graph.outputs):
            if value is old:
                self._graph.outputs[index] = new

    def _unique_name(self, value: ir.Value, suffix: str) -> str:
        name = f"{value.name}.{suffix}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def _rounded(weight: ir.TensorProtocol, half: HalfType, name: str) -> ir.TensorProtocol:
    """The weight in half, rounded when its data is read, so that memory holds one at a time."""

    def rounded() -> ir.TensorProtocol:
        return ir.Tensor(weight.numpy().astype(half.dtype.numpy()), dtype=half.dtype)

    return ir.LazyTensor(rounded, half.dtype, ir.Shape(weight.shape.numpy()), name=name)


def _redirect(uses: Iterable[Use], value: ir.Value) -> None:
    for node, index in uses:
        node.replace_input_with(index, value)


def _all_names(graph: ir.Graph) -> set[str | None]:
    """The names of all values and nodes, also in subgraphs."""
    names: set[str | None] = {*graph.initializers, *(value.name for value in graph.inputs)}
    for node in graph:
        names.update((node.name, *(value.name for value in node.outputs)))
        for body in bodies(node):
            names |= _all_names(body)
    return names
