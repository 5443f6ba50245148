"""The errors of NVIDIA's ONNX parser as refused nodes of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.onnx.graph_parts import first_output, node_label
from backends.support import RefusedNode

if TYPE_CHECKING:
    import onnx
    import tensorrt as trt

_NO_REASON = "false"  # of a check of the parser that has no text of its own
_NO_REASONS = ("Invalid Node - ", "catchCudaError")
_OF_INPUTS = "importInput"  # the parser's function that refuses an input of the graph


def refused_nodes(parser: trt.OnnxParser, graph: onnx.GraphProto) -> tuple[RefusedNode, ...]:
    """The nodes that the errors of a parser are about, each error once.

    Args:
        parser: after it has refused the graph.
        graph: as the parser got it.
    """
    errors = map(parser.get_error, range(parser.num_errors))
    return tuple(dict.fromkeys(refused_node(error, graph) for error in errors))


def refused_node(error: trt.ParserError, graph: onnx.GraphProto) -> RefusedNode:
    """The node of the graph that an error of the parser is about, with NVIDIA's reason.

    An error about an input of the graph has the input's name where others have a source file. One
    about the whole graph has no node. One inside a body or a function has the number of the node
    that has it.
    """
    reason = reason_of(error)
    if error.func() == _OF_INPUTS:
        return RefusedNode(error.file(), "input", reason)
    number = error.node()
    if not 0 <= number < len(graph.node):
        return RefusedNode("", "", reason)
    node = graph.node[number]
    words = f"{_inner_node(error, node)}{reason}"
    return RefusedNode(node_label(node, number), node.op_type, words, first_output(node))


def _inner_node(error: trt.ParserError, node: onnx.NodeProto) -> str:
    """Which node of a body or of a function's definition the error is about, if it is one."""
    if (error.node_name(), error.node_operator()) == (node.name, node.op_type):
        return ""
    name = f" '{error.node_name()}'" if error.node_name() else ""
    return f"{error.node_operator()}{name} in it: "


def reason_of(error: trt.ParserError) -> str:
    """The parser's words without lines that give no reason.

    Without a GPU the library reports a missing driver beside every error of a layer.
    """
    text: str = error.desc()
    if text == _NO_REASON:
        return f"refused by {error.func()}"
    lines = [line for line in text.splitlines() if not any(word in line for word in _NO_REASONS)]
    return "; ".join(lines) or text
