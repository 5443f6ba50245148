"""A choice -> the graph that computes so: every value has one type, and Casts stand between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import onnx_ir as ir

from deploy.graph.index import is_weight
from deploy.graph.nodes import bodies
from deploy.precision.definitions import SIZES, HalfType, is_float
from deploy.precision.node_selection import HalfOperands

Use = tuple[ir.Node, int]


def retype(
    graph: ir.Graph,
    chosen: Mapping[ir.Node, HalfOperands],
    half: HalfType,
    ends: Collection[ir.Value],
) -> None:
    """Let the chosen nodes compute in half.

    The graph's inputs and outputs keep their names, and so do all values of one type; where a
    value is there in both, the one in fp32 does.

    Args:
        graph: the graph, changed in place.
        chosen: what becomes half of each node.
        half: the type.
        ends: inputs and outputs of the graph that become half too.
    """
    work = _Retyping(graph, half, frozenset(ends))
    uses: dict[ir.Value | None, list[Use]] = {}
    made = {value for value in graph.inputs if value in ends}
    for node, places in chosen.items():
        if node.op_type == "Cast" and places.outputs:
            node.attributes["to"] = ir.AttrInt64("to", half.dtype)
        made.update(node.outputs[n] for n in places.outputs)
        for n in places.inputs:
            uses.setdefault(node.inputs[n], []).append((node, n))
    for value in dict.fromkeys((*graph.inputs, *uses, *made, *graph.outputs)):
        if value is None or not is_float(value):
            continue
        if is_weight(value):
            work.store(value, uses.get(value, []))
        elif value in made:
            work.widen(value, uses.get(value, []))
        else:
            work.narrow(value, uses.get(value, []))


class _Retyping:
    """A graph whose values get their types, one after the other."""

    def __init__(self, graph: ir.Graph, half: HalfType, ends: Collection[ir.Value]) -> None:
        self._graph, self._half, self._ends = graph, half, ends
        self._names = _names(graph)
        self._suffix = half.name

    def store(self, weight: ir.Value, uses: list[Use]) -> None:
        """Keep a weight in half, and in fp32 too where that is read."""
        if not uses or weight.const_value is None:
            return
        value = weight
        if len(uses) < len(weight.uses()) or weight.is_graph_output():
            value = ir.Value(name=self._name(weight, self._suffix), shape=weight.shape)
            _redirect(uses, value)
        value.const_value = _rounded(weight.const_value, self._half, str(value.name))
        value.type = ir.TensorType(self._half.dtype)
        if value is not weight:
            self._graph.register_initializer(value)

    def widen(self, value: ir.Value, uses: list[Use]) -> None:
        """Make a value half, and give it in fp32 to all but the ``uses``."""
        value.type = ir.TensorType(self._half.dtype)
        halves = set(uses)
        others = [
            (node, number)
            for node, number in value.uses()
            if (node, number) not in halves and node.op_type not in SIZES
        ]
        goes_out = value.is_graph_output() and value not in self._ends
        if not others and not goes_out:
            return
        wide = self._cast(value, ir.DataType.FLOAT, "fp32")
        _redirect(others, wide)
        if value not in self._ends:
            value.name, wide.name = self._name(value, self._suffix), value.name
        if goes_out:
            self._put_out(value, wide)

    def narrow(self, value: ir.Value, uses: list[Use]) -> None:
        """Give a value that stays fp32 in half to the ``uses``."""
        goes_out = value in self._ends and value.is_graph_output()
        if not uses and not goes_out:
            return
        slim = self._cast(value, self._half.dtype, self._suffix)
        _redirect(uses, slim)
        if goes_out:
            value.name, slim.name = self._name(value, "fp32"), value.name
            self._put_out(value, slim)

    def _cast(self, value: ir.Value, dtype: ir.DataType, suffix: str) -> ir.Value:
        node = ir.node("Cast", [value], {"to": dtype}, name=self._name(value, suffix))
        (cast,) = node.outputs
        cast.name, cast.type, cast.shape = node.name, ir.TensorType(dtype), value.shape
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, node)
        else:
            self._graph.insert_before(self._graph[0], node)
        return cast

    def _put_out(self, old: ir.Value, new: ir.Value) -> None:
        for number, value in enumerate(self._graph.outputs):
            if value is old:
                self._graph.outputs[number] = new

    def _name(self, value: ir.Value, suffix: str) -> str:
        name = f"{value.name}.{suffix}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def _rounded(weight: ir.TensorProtocol, half: HalfType, name: str) -> ir.TensorProtocol:
    """The weight in half, rounded whenever its bytes are asked for."""

    def rounded() -> ir.TensorProtocol:
        return ir.Tensor(weight.numpy().astype(half.dtype.numpy()), dtype=half.dtype)

    return ir.LazyTensor(rounded, half.dtype, ir.Shape(weight.shape.numpy()), name=name)


def _redirect(uses: Iterable[Use], value: ir.Value) -> None:
    for node, number in uses:
        node.replace_input_with(number, value)


def _names(graph: ir.Graph) -> set[str | None]:
    """The names of all values and nodes, also those in bodies."""
    found: set[str | None] = {*graph.initializers, *(value.name for value in graph.inputs)}
    for node in graph:
        found.update((node.name, *(value.name for value in node.outputs)))
        for body in bodies(node):
            found |= _names(body)
    return found
