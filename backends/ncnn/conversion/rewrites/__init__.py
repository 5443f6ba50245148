"""Rewrites of a segment's graph to forms that pnnx and ncnn take.

Each is exact for finite numbers: the new nodes compute what the old one does. The converted net is
compared with the reference as any other is.
"""

from __future__ import annotations

import onnx

from backends.ncnn.conversion.fixed_graph import STANDARD, FixedGraph
from backends.ncnn.conversion.rewrites.attentions import projection_of_cross_attention
from backends.ncnn.conversion.rewrites.constants import fold_constants
from backends.ncnn.conversion.rewrites.parts import Nodes, Rewrite
from backends.ncnn.conversion.rewrites.pass_through import remove_identities, unchanged
from backends.ncnn.conversion.rewrites.powers import whole_power
from backends.ncnn.conversion.rewrites.recurrences import recurrent_states
from backends.ncnn.conversion.rewrites.reductions import (
    composed_reduction,
    extreme_over_axes,
    single_axis_reduction,
)
from backends.ncnn.conversion.rewrites.repeats import repeat_of_parts
from backends.ncnn.conversion.rewrites.resizes import plain_resize
from backends.ncnn.conversion.rewrites.selections import (
    clip_to_computed_bounds,
    guard_of_a_masked_softmax,
    guard_of_a_softmax,
    select_by_constant,
)
from backends.ncnn.conversion.rewrites.slices import (
    depth_to_space,
    gather_of_indices,
    slice_without_axes,
    space_to_depth,
    strided_slice,
    tile,
)

_MAX_ROUNDS = 4  # a rewrite may make what another one takes, such as slices of a SpaceToDepth
_PASSING = """
Add Cast Concat Div Dropout Expand Flatten Max Mean Min Mul Pad Pow Reshape Resize Slice Squeeze
Sub Sum Tile Transpose Unsqueeze
"""
_COMPUTED = {
    "Clip": [clip_to_computed_bounds],
    "DepthToSpace": [depth_to_space],
    "Gather": [gather_of_indices],
    "MatMul": [projection_of_cross_attention],
    "Pow": [whole_power],
    "ReduceL2": [composed_reduction],
    "ReduceLogSum": [composed_reduction],
    "ReduceMax": [extreme_over_axes],
    "ReduceMin": [extreme_over_axes],
    "ReduceSumSquare": [composed_reduction],
    "Reshape": [repeat_of_parts],
    "Resize": [plain_resize],
    "Slice": [strided_slice, slice_without_axes],
    "SpaceToDepth": [space_to_depth],
    "Tile": [tile],
    "Where": [guard_of_a_softmax, guard_of_a_masked_softmax, select_by_constant],
    **{operator: [recurrent_states] for operator in ("GRU", "LSTM", "RNN")},
    **{f"Reduce{kind}": [single_axis_reduction] for kind in ("Mean", "Sum", "L1", "LogSumExp")},
}
_REWRITES: dict[str, list[Rewrite]] = {
    operator: [*([unchanged] if operator in _PASSING.split() else []), *_COMPUTED.get(operator, [])]
    for operator in (*_PASSING.split(), *_COMPUTED)
}


def rewrite_graph(graph: FixedGraph) -> None:
    """Apply the rewrites of this module to a graph, in place."""
    fold_constants(graph)
    for _ in range(_MAX_ROUNDS):
        nodes = [new for node in graph.model.graph.node for new in _rewritten(node, graph)]
        if nodes == list(graph.model.graph.node):
            break
        graph.replace_nodes(nodes)
    remove_identities(graph)


def _rewritten(node: onnx.NodeProto, graph: FixedGraph) -> Nodes:
    if node.domain not in STANDARD:
        return [node]
    for rewrite in _REWRITES.get(node.op_type, ()):
        nodes = rewrite(node, graph)
        if nodes is not None:
            return nodes
    return [node]
