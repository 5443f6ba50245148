"""Nodes of an ONNX graph: marks, host steps, bodies, values that they read, names in messages."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

import onnx_ir as ir

MARK_DOMAIN, MARK_OP, HOST_OP = "deploy", "Mark", "HostStep"

_SCOPES = "pkg.torch.onnx.name_scopes"


def is_mark(node: ir.Node) -> bool:
    """Whether the node stands for a mark."""
    return (node.domain, node.op_type) == (MARK_DOMAIN, MARK_OP)


def host_steps_in(nodes: Iterable[ir.Node]) -> Iterator[str]:
    """The host steps whose placeholders are among the nodes or in their bodies."""
    for node in nodes:
        for inner in (node, *(inner for body in bodies(node) for inner in body.all_nodes())):
            if (inner.domain, inner.op_type) == (MARK_DOMAIN, HOST_OP):
                step = inner.attributes.get("step")
                yield step.as_string() if step is not None else describe_node(inner)


def mark_function(opset: int) -> ir.Function:
    """``Mark(x) = Identity(x)``, so that any runtime can run the marked model."""
    node = ir.node("Identity", [ir.Value(name="x")])
    node.outputs[0].name = "y"
    names = ("mark", "call", "side", "path", "id")
    return ir.Function(
        MARK_DOMAIN,
        MARK_OP,
        graph=ir.Graph(
            list(node.inputs),  # type: ignore[arg-type]
            node.outputs,
            nodes=[node],
            opset_imports={"": opset},
        ),
        attributes=[ir.Attr(name, ir.AttributeType.UNDEFINED, None) for name in names],
    )


def node_reads(node: ir.Node) -> list[ir.Value]:
    """Every value that the node needs, with those that its If, Loop or Scan bodies capture."""
    own = [value for value in node.inputs if value is not None]
    inner = list(bodies(node))
    return [*own, *_captured(inner)] if inner else own


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside an If, Loop or Scan."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _captured(inner: list[ir.Graph]) -> list[ir.Value]:
    """What the bodies use of the graphs around them, in an order that every run repeats.

    ``onnx_ir.analysis.analyze_implicit_usage`` gives sets, whose order varies, and fails on a
    value that no graph defines.
    """
    graphs = dict.fromkeys(g for body in reversed(inner) for g in (body, *body.subgraphs()))
    used = dict.fromkeys(value for graph in graphs for node in graph for value in node.inputs)
    return [value for value in used if value is not None and value.graph not in graphs]


def describe_node(node: ir.Node) -> str:
    """Such as ``Conv 'node_Conv_21' in module backbone.layer1``."""
    module = _module(node)
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    return f"{node.op_type} '{name}'" + (f" in module {module}" if module else "")


def _module(node: ir.Node) -> str:
    """The dotted path of the innermost module; scopes end with the operation's own name."""
    scopes = node.metadata_props.get(_SCOPES)
    return str(ast.literal_eval(scopes)[-2]) if scopes and scopes.count(",") else ""
