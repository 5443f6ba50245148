"""Refusals of a segment in the user's words: its nodes and tensors, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import ConversionError
from backends.ncnn.conversion.diagnosis import Cause, Fault
from backends.ncnn.conversion.fault_search import FaultyNodes, find_faulty_nodes
from backends.ncnn.conversion.fixed_graph import FixedGraph, Origin

_SHOWN = 4  # nodes that an error names
_EAGER = (
    "The exporter writes this guard for scaled dot-product attention: build the model with "
    "attn_implementation: eager (Hugging Face), which has none."
)


def refusal(segment: str, graph: FixedGraph, fault: Fault) -> ConversionError:
    """The error for a segment that pnnx or ncnn cannot take; searches for the nodes."""
    faulty = find_faulty_nodes(graph, fault)
    if not faulty.origins:
        return ConversionError(_without_nodes(segment, fault, faulty), do=another_backend(segment))
    nodes = shortened(list(map(str, faulty.origins)), ", ")
    if not faulty.alone:
        nodes += ", together with what it needs"
    if not faulty.complete:
        nodes += f", and perhaps more: the search ended after {faulty.tries} tries"
    return ConversionError(
        f"segment '{segment}': {_what(fault)} {nodes}{_reason(fault)}",
        do=remedy(segment, graph, faulty.origins),
        refused=tuple(origin.refused(reason_of(fault)) for origin in faulty.origins),
    )


def remedy(segment: str, graph: FixedGraph, origins: Sequence[Origin]) -> str:
    """What to do about nodes that ncnn cannot take."""
    guard = any(item.operator == "IsNaN" for item in origins) and any(
        item.operator == "Softmax" for item in graph.origins.values()
    )
    hint = f"{_EAGER} Or: " if guard else ""
    return f"{hint}{_cuts(graph, origins)}{another_backend(segment)}"


def another_backend(segment: str) -> str:
    """The advice that always works."""
    return f"Choose another backend for this segment (+backend@chain.{segment}=NAME)."


def _cuts(graph: FixedGraph, origins: Sequence[Origin]) -> str:
    """Where to cut around a single node: its tensors that are no borders of the segment yet."""
    if len(graph.origins) == len(origins):
        return ""
    tensors = [name for item in origins for name in (*item.inputs, *item.outputs)]
    if len(origins) > 1 or not all(_may_be_float(name, graph) for name in tensors):
        return "Cut around them, so that another backend gets that part. Or: "
    borders = {value.name for value in graph.model.graph.input} | graph.outputs
    at = " and ".join(f"'{name}'" for name in tensors if name not in borders)
    return f"Cut at {at}, so that another backend gets it. Or: " if at else ""


def _may_be_float(name: str, graph: FixedGraph) -> bool:
    return graph.is_float(name) or not graph.element_type(name)


def shortened(nodes: Sequence[str], separator: str) -> str:
    """The first of the nodes that an error is about, and how many more there are."""
    names = separator.join(nodes[:_SHOWN])
    more = len(nodes) - _SHOWN
    return f"{names} and {more} more" if more > 0 else names


def reason_of(fault: Fault) -> str:
    """Why a node with this fault is refused."""
    if fault.cause is Cause.CRASH:
        return f"pnnx, the converter of ncnn, crashes on it{_reason(fault)}"
    if fault.cause is Cause.LOST_TENSOR:
        return "pnnx, the converter of ncnn, loses a tensor of it"
    if fault.cause is Cause.UNKNOWN_LAYER:
        return "ncnn has no such layer"
    return f"ncnn cannot compute it{_reason(fault)}"


def _what(fault: Fault) -> str:
    if fault.cause is Cause.CRASH:
        return "pnnx, the converter of ncnn, crashed on"
    if fault.cause is Cause.LOST_TENSOR:
        return "pnnx, the converter of ncnn, loses a tensor of"
    return "ncnn cannot compute"


def _reason(fault: Fault) -> str:
    reason = fault.reason.replace("bottom", "input").replace("its tops", "its outputs")
    return f" ({reason})" if reason else ""


def _without_nodes(segment: str, fault: Fault, found: FaultyNodes) -> str:
    searched = f"{found.tries} smaller parts of it do not show where"
    if fault.cause is Cause.CRASH:
        what = f"pnnx, the converter of ncnn, crashed{_reason(fault)}"
        return f"segment '{segment}': {what}; {searched}"
    if fault.cause is Cause.LOST_TENSOR:
        return f"segment '{segment}': pnnx, the converter of ncnn, loses an input or output"
    lacks = ", ".join(sorted(fault.layers))
    return f"segment '{segment}': ncnn cannot compute it ({fault.reason or lacks}); {searched}"
