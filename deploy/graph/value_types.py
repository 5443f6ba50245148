"""Values of an ONNX graph that are no tensors of numbers: what they are, and how to do without.

Tensors of strings, sequences, maps and optional values stay inside a segment. As an input or output
of a chain they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

from deploy.graph.nodes import node_reads

_TYPE = "backend_chain.type"  # metadata of a value whose type the graph library does not know
_KINDS = {
    "sequence_type": "a sequence",
    "map_type": "a map",
    "optional_type": "an optional value",
    "sparse_tensor_type": "a sparse tensor",
}


def other_type(value: onnx.ValueInfoProto) -> str:
    """Such as ``a map``; an empty text for a tensor of numbers, or without a type."""
    kind = value.type.WhichOneof("value")
    if kind in (None, "tensor_type"):
        strings = value.type.tensor_type.elem_type == onnx.TensorProto.STRING
        return "a tensor of strings" if strings else ""
    return _KINDS.get(kind, "another type")


def set_aside_unknown_types(graph: onnx.GraphProto) -> None:
    """Move the types that the graph library cannot read, such as maps, into metadata."""
    for value in (*graph.output, *graph.value_info):
        if not _is_readable(value.type):
            value.metadata_props.add(key=_TYPE, value=other_type(value))
            value.type.Clear()


def _is_readable(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return _is_readable(kind.sequence_type.elem_type)
    if which == "optional_type":
        return _is_readable(kind.optional_type.elem_type)
    return which in (None, "tensor_type", "sparse_tensor_type")


def other_type_of(value: ir.Value) -> str:
    """As ``other_type``."""
    if isinstance(value.type, ir.TensorType):
        return "a tensor of strings" if value.type.dtype == ir.DataType.STRING else ""
    if value.type is None:
        return value.metadata_props.get(_TYPE, "")
    for kind, name in (
        (ir.SequenceType, "a sequence"),
        (ir.OptionalType, "an optional value"),
        (ir.SparseTensorType, "a sparse tensor"),
    ):
        if isinstance(value.type, kind):
            return name
    return "another type"


def how_to_end_before(value: ir.Value) -> str:
    """A partition of the whole graph that ends at tensors of numbers in the place of this value."""
    node = value.producer()
    if node is None or not value.is_graph_output() or not isinstance(node.graph, ir.Graph):
        near = ", ".join(str(before.name) for before in _numbers_before(value))
        return f"Cut where a tensor of numbers is{near and f', such as before it: {near}'}."
    graph = node.graph
    ends = [
        str(end.name)
        for output in graph.outputs
        for end in ([output] if is_numeric(output) else _numbers_before(output))
    ]
    if not ends:
        return "Nothing before it is computed that an engine could give."
    starts = [str(start.name) for start in graph.inputs]
    return (
        "End the chain at tensors of numbers, and do the rest on the host: "
        f"partition.segments={segments_text(starts, dict.fromkeys(ends))}."
    )


def segments_text(starts: Iterable[str], ends: Iterable[str]) -> str:
    """The value of ``partition.segments`` for one segment."""
    start, end = (", ".join(map(_quoted, names)) for names in (starts, ends))
    return f"[{{name: model, start: [{start}], end: [{end}]}}]"


def _quoted(name: str) -> str:
    return name if name.isidentifier() else repr(name)


def is_numeric(value: ir.Value) -> bool:
    """Whether a value is known to be a tensor of numbers."""
    return isinstance(value.type, ir.TensorType) and not other_type_of(value)


def _numbers_before(value: ir.Value) -> Iterator[ir.Value]:
    """The nearest computed tensors of numbers that a value depends on."""
    pending, seen = [value], {value}
    while pending:
        node = pending.pop().producer()
        for source in node_reads(node) if node is not None else ():
            if source in seen or source.producer() is None:
                continue
            seen.add(source)
            if is_numeric(source):
                yield source
            else:
                pending.append(source)


def how_to_start_behind(graph: onnx.GraphProto, path: str, name: str) -> str:
    """A command that saves a file without an input that is no tensor of numbers."""
    inferred = {value.name: value for value in (*graph.value_info, *graph.output)}
    outputs = [value.name for value in graph.output]
    weights = {tensor.name for tensor in graph.initializer}
    others = [
        value.name
        for value in graph.input
        if value.name not in weights and value.name != name and not other_type(value)
    ]
    behind = [
        output
        for node in graph.node
        if name in node.input
        for output in node.output
        if output
        and output not in outputs
        and not (output in inferred and other_type(inferred[output]))
    ]
    if not behind:
        return "Nothing is left for an engine without it: compute it on the host."
    return (
        "Compute on the host what it becomes, and save the rest: "
        f"{extraction(path, [*others, *behind], outputs)}."
    )


def how_to_save_before(graph: onnx.GraphProto, path: str) -> str:
    """A command that saves a file without its outputs that are no tensors of numbers."""
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    producers = {name: node for node in graph.node for name in node.output if name}
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    ends: dict[str, None] = {}
    for output in graph.output:
        if not other_type(output):
            ends[output.name] = None
        elif output.name in producers:
            before = producers[output.name].input
            ends |= {
                name: None
                for name in before
                if name in producers and not (name in known and other_type(known[name]))
            }
    if not ends:
        return "Save it again with outputs that are tensors of numbers."
    return f"Save it without: {extraction(path, inputs, list(ends))}."


def extraction(path: str, inputs: list[str], outputs: list[str]) -> str:
    """A command that saves a part of a file."""
    arguments = f"{path!r}, 'part.onnx', {inputs!r}, {outputs!r}"
    return f'python -c "import onnx.utils; onnx.utils.extract_model({arguments})"'
