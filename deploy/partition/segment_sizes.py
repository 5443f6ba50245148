"""The specs of a segment's tensors: which sizes are fixed, and what the others may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from backends.contract import Dynamic, Specs
from deploy.graph.exported import Exported
from deploy.graph.specs import spec_of
from deploy.partition.cut_points import PartitionError
from deploy.partition.tensor_names import NamedSubgraph, NamedTensor


class SegmentSizes:
    """What is known of the sizes in one segment.

    Attributes:
        fixed: the size of each dimension's name that this segment fixes.
    """

    def __init__(
        self, exported: Exported, wired: NamedSubgraph, dynamic: Mapping[str, Mapping[int, Dynamic]]
    ) -> None:
        """Name the open dimensions at the borders, and see what is said of them.

        Args:
            exported: its inputs have the ranges for the whole model.
            wired: the segment.
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
        wires = {wire.name: wire for wire in (*wired.inputs, *wired.outputs)}
        for wire in wires.values():
            _name_dims(wire)
        for tensor, axes in dynamic.items():
            if tensor not in wires:
                raise PartitionError(
                    f"dynamic.{tensor} of segment '{wired.part.name}'",
                    expected=f"one of its tensors {', '.join(wires)}",
                    got=tensor,
                )
            for axis, span in axes.items():
                self._say(wires[tensor], axis, span)

    def specs(self, wires: Sequence[NamedTensor]) -> Specs:
        """The spec of each tensor under its name in the chain."""
        return tuple(
            spec_of(wire.value, self._ranges, self.fixed, wire.name, PartitionError)
            for wire in wires
        )

    def _say(self, wire: NamedTensor, axis: int, span: Dynamic) -> None:
        shape = wire.value.shape
        if shape is None or not 0 <= axis < len(shape):
            raise PartitionError(
                f"dynamic.{wire.name}.{axis}", expected=f"an axis of {shape or 'a known rank'}"
            )
        dim = shape[axis]
        if isinstance(dim, int):
            if not span.min == dim == span.max:
                raise PartitionError(
                    f"dynamic.{wire.name}.{axis}",
                    expected=f"the size {dim}, which the model fixes",
                    got=f"{span.min} to {span.max}",
                    do="Let it vary in the whole model first: model.dynamic.",
                )
            return
        name = str(dim.value)
        self._ranges[name] = Dynamic(name, span.min, span.opt, span.max)
        if span.min == span.max:
            self.fixed[name] = span.min


def _name_dims(wire: NamedTensor) -> None:
    """A dimension without a name could not be told from another one."""
    if wire.value.shape is None:
        return
    shape = wire.value.shape.copy()  # that of a value just read cannot be changed
    for axis, dim in enumerate(shape):
        if isinstance(dim, ir.SymbolicDim) and dim.value is None:
            shape[axis] = f"{wire.name}_{axis}"
    wire.value.shape = shape
