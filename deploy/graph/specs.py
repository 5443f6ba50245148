"""A value of an ONNX graph -> its tensor spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from backends.contract import UNBOUNDED, DeployError, Dim, Dynamic, TensorSpec
from deploy.graph.symbolic_dims import evaluate_dim
from deploy.graph.value_types import how_to_end_before, other_type_of


def spec_of(
    value: ir.Value,
    ranges: Mapping[str, Dynamic],
    fixed: Mapping[str, int],
    name: str,
    error: Callable[..., DeployError] = DeployError,
) -> TensorSpec:
    """The spec of a value under another name.

    A dimension that depends on the data, and on none of ``ranges``, may have any size.

    Args:
        value: of a graph.
        ranges: the sizes that a dynamic dimension may have, by its name.
        fixed: the size of a dynamic dimension that is fixed, by its name.
        name: of the spec.
        error: the class of the error.

    Raises:
        DeployError: as ``error``: the value is a sequence, an optional or a map, or its dtype is
            not known.
    """
    if other := other_type_of(value):
        kind = "output" if value.is_graph_output() else "value"
        raise error(
            f"{kind} '{name}' cannot cross a border",
            expected="a tensor of numbers",
            got=other,
            do=how_to_end_before(value),
        )
    if not isinstance(value.type, ir.TensorType):
        raise error(
            f"value '{name}' cannot cross a border",
            expected="a tensor of known dtype",
            got="an unknown type",
            do="Write its type into the file (value_info), or cut elsewhere.",
        )
    dtype = value.type.dtype.numpy().name
    if value.shape is None:
        return TensorSpec(name, dtype, None)
    return TensorSpec(name, dtype, tuple(_dim(dim, ranges, fixed) for dim in value.shape))


def _dim(dim: int | ir.SymbolicDim, ranges: Mapping[str, Dynamic], fixed: Mapping[str, int]) -> Dim:
    if isinstance(dim, int):
        return dim
    name = dim.value or "unknown"
    if name in fixed:
        return fixed[name]
    if name in ranges:
        return ranges[name]
    sizes = [
        evaluate_dim(dim, {dynamic.name: dynamic.min for dynamic in ranges.values()}),
        evaluate_dim(dim, {dynamic.name: dynamic.opt for dynamic in ranges.values()}),
        evaluate_dim(dim, {dynamic.name: dynamic.max for dynamic in ranges.values()}),
    ]
    known = [size for size in sizes if size is not None]
    return Dynamic(name, *known) if len(known) == 3 else Dynamic(name, 0, 1, UNBOUNDED)
