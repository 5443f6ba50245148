"""A named subgraph -> its sizes, its specs, and an ONNX model of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedFunctionsPass, RemoveUnusedOpsetsPass

from backends.contract import Dynamic, Specs
from deploy.graph.exported import Exported
from deploy.graph.specs import spec_of
from deploy.graph.writing import MIN_IR_VERSION
from deploy.partition.cut_points import PartitionError
from deploy.partition.shared_nodes import are_unique, can_share_nodes
from deploy.partition.tensor_names import NamedSubgraph, NamedTensor


class SegmentSizes:
    """What is known of the sizes in one segment.

    Attributes:
        fixed: the dynamic sizes that this segment fixes, by their names.
    """

    def __init__(
        self, exported: Exported, named: NamedSubgraph, dynamic: Mapping[str, Mapping[int, Dynamic]]
    ) -> None:
        """Name the open dimensions of the boundary tensors, and apply the ranges.

        Args:
            exported: its inputs have the ranges for the whole model.
            named: the segment.
            dynamic: the ranges for this segment, by tensor and axis.

        Raises:
            PartitionError: ``dynamic`` names no tensor or axis of the segment, or one whose size
                the model fixes.
        """
        self.fixed: dict[str, int] = {}
        self._ranges = {
            dim.name: dim
            for spec in exported.inputs
            for dim in spec.dims
            if isinstance(dim, Dynamic)
        }
        tensors = {tensor.name: tensor for tensor in (*named.inputs, *named.outputs)}
        for tensor in tensors.values():
            _name_open_dims(tensor)
        for name, axes in dynamic.items():
            if name not in tensors:
                raise PartitionError(
                    f"dynamic.{name} of segment '{named.subgraph.name}'",
                    expected=f"one of its tensors {', '.join(tensors)}",
                    got=name,
                )
            for axis, sizes in axes.items():
                self._apply_range(tensors[name], axis, sizes)

    def specs(self, tensors: Sequence[NamedTensor]) -> Specs:
        """The spec of each tensor under its name in the chain."""
        return tuple(
            spec_of(tensor.value, self._ranges, self.fixed, tensor.name, PartitionError)
            for tensor in tensors
        )

    def _apply_range(self, tensor: NamedTensor, axis: int, sizes: Dynamic) -> None:
        shape = tensor.value.shape
        if shape is None or not 0 <= axis < len(shape):
            raise PartitionError(
                f"dynamic.{tensor.name}.{axis}", expected=f"an axis of {shape or 'a known rank'}"
            )
        dim = shape[axis]
        if isinstance(dim, int):
            if not sizes.min == dim == sizes.max:
                raise PartitionError(
                    f"dynamic.{tensor.name}.{axis}",
                    expected=f"the size {dim}, which the model fixes",
                    got=f"{sizes.min} to {sizes.max}",
                    do="Let it vary in the whole model first: model.dynamic.",
                )
            return
        name = str(dim.value)
        self._ranges[name] = replace(sizes, name=name)
        if sizes.min == sizes.max:
            self.fixed[name] = sizes.min


def _name_open_dims(tensor: NamedTensor) -> None:
    """Name the dimensions that have no name, to tell them apart."""
    if tensor.value.shape is None:
        return
    shape = tensor.value.shape.copy()  # that of a value just read cannot be changed
    for axis, dim in enumerate(shape):
        if isinstance(dim, ir.SymbolicDim) and dim.value is None:
            shape[axis] = f"{tensor.name}_{axis}"
    tensor.value.shape = shape


def extract_segment(model: ir.Model, named: NamedSubgraph, fixed: Mapping[str, int]) -> ir.Model:
    """A model of one subgraph; it shares its weights with ``model``.

    It shares the nodes too where no tensor changes; otherwise they are copies. In ``model`` nodes
    get names then that are unique in their segment. Besides only the nodes change that read dynamic
    sizes: they read them from the inputs of the segment extracted last. Every subgraph that holds
    such a node has a source for it.

    Args:
        model: the whole.
        named: the subgraph.
        fixed: the dynamic sizes that become fixed, by their names.
    """
    subgraph = named.subgraph
    for source in subgraph.size_sources:
        source.node.replace_input_with(0, source.value)
        source.node.attributes["start"] = ir.AttrInt64("start", source.axis)
        source.node.attributes["end"] = ir.AttrInt64("end", source.axis + 1)
    view = ir.GraphView(
        [tensor.value for tensor in named.inputs],
        [tensor.value for tensor in named.outputs],
        nodes=subgraph.nodes,
        initializers=subgraph.weights,
        opset_imports=dict(model.graph.opset_imports),
        name=subgraph.name,
        metadata_props=dict(model.graph.metadata_props),
    )
    unchanged = not (fixed or model.functions) and can_share_nodes(named)
    segment = ir.Model(
        view if unchanged else view.clone(),  # type: ignore[arg-type]  # as its documentation says
        ir_version=max(model.ir_version, MIN_IR_VERSION),
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        functions=[function.clone() for function in model.functions.values()],
        metadata_props=dict(model.metadata_props),
    )
    if not unchanged:
        _adapt(segment, named, fixed)
    if not (unchanged and are_unique([node.name for node in subgraph.nodes])):
        NameFixPass()(segment)
    if len(model.graph.opset_imports) > 1:
        RemoveUnusedOpsetsPass()(segment)
    return segment


def _adapt(segment: ir.Model, named: NamedSubgraph, fixed: Mapping[str, int]) -> None:
    RemoveUnusedFunctionsPass()(segment)  # type: ignore[no-untyped-call]
    _separate_outputs(segment.graph)
    _rename(segment.graph.inputs, named.inputs)
    _rename(segment.graph.outputs, named.outputs)
    if fixed:
        _fix_sizes(segment.graph, fixed)


def _separate_outputs(graph: ir.Graph) -> None:
    """Give each output a value of its own that is no input, no weight and no other output.

    Of these, onnx_ir's ``OutputFixPass`` leaves weights.
    """
    used = {*graph.inputs, *graph.initializers.values()}
    for number, value in enumerate(graph.outputs):
        if value in used:
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[number] = node.outputs[0]
        used.add(value)


def _rename(values: Collection[ir.Value], tensors: Collection[NamedTensor]) -> None:
    for value, tensor in zip(values, tensors, strict=True):
        value.name = tensor.name


def _fix_sizes(graph: ir.Graph, sizes: Mapping[str, int]) -> None:
    results = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *results):
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, ir.SymbolicDim) and dim.value in sizes and value.shape is not None:
                value.shape[axis] = sizes[str(dim.value)]
