"""What ncnn takes of a segment: by the types and forms of its nodes, and by trials of each kind.

It is asked in a child process. A node that a rewrite removes or replaces is judged by what is put
in its place, so that what can only be taken together with its neighbours is not refused.
"""

from __future__ import annotations

from importlib.util import find_spec

from backends.contract import Dynamic, Segment, install_hint
from backends.ncnn import Options, runs_row_by_row
from backends.options import options_json
from backends.process.support_query import support_in_child
from backends.support import RefusedNode, Support

CONVERTER = "ncnn's converter pnnx"
_CHILD = "backends.ncnn.conversion.node_support"


def support(segment: Segment, options: Options) -> Support:
    """Which nodes of a segment ncnn takes.

    What is taken of it may still fail together with other nodes.

    Args:
        segment: its file; weights may lie beside it.
        options: of the backend.
    """
    if missing := [name for name in ("ncnn", "pnnx") if find_spec(name) is None]:
        names = " and ".join(missing)
        return Support(CONVERTER, unknown=f"{names} not installed here. {install_hint('desk')}")
    if reason := _varying_sizes(segment):
        return Support(CONVERTER, refused=(RefusedNode("", "", reason),))
    return support_in_child(CONVERTER, _CHILD, segment, options_json(options))


def _varying_sizes(segment: Segment) -> str:
    """Why no net can have its inputs, or nothing: sizes vary that are not the number of rows."""
    for spec in segment.inputs:
        if spec.shape is None:
            return f"its files are of fixed shape: '{spec.name}' {spec}"
        varies = any(isinstance(dim, Dynamic) for dim in spec.dims)
        if varies and not runs_row_by_row(segment.inputs, ()):
            return f"its files are of fixed shape, but for the number of rows: '{spec.name}' {spec}"
    return ""
