"""The subgraphs that a parser lists of a graph that it refuses, each as a model of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from backends.nvidia.bindings import Bindings
from tests.cutsuite.reading import Reading, read


def listed(bindings: Bindings, builder: Any, path: Path) -> list[list[int]]:
    """The node numbers of each subgraph that ``supports_model_v2`` finds.

    It marks none of them as supported unless it takes the whole graph, and leaves out the nodes
    that it refuses.
    """
    # the network has to live as long as its parser
    _network, parser = _parser(bindings, builder)
    parser.supports_model_v2(path.read_bytes(), str(path))
    return [parser.get_subgraph_nodes(number) for number in range(parser.num_subgraphs)]


def parses_alone(
    bindings: Bindings, builder: Any, model: onnx.ModelProto, nodes: Sequence[int]
) -> bool:
    """Whether the parser takes these nodes without the others."""
    alone = extracted(model, nodes)
    if alone is None:
        return False
    _network, parser = _parser(bindings, builder)
    return bool(parser.parse(alone.SerializeToString()))


def extracted(model: onnx.ModelProto, nodes: Sequence[int]) -> onnx.ModelProto | None:
    """The nodes as a model; None where a tensor at its border has no known type."""
    reading, inside = read(model), set(nodes)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in (*graph.input, *graph.output, *graph.value_info)}
    weights = {weight.name for weight in graph.initializer}
    starts = set(_read_inside(reading, inside)) - weights - set(_made(reading, inside))
    ends = [name for name in _made(reading, inside) if _leaves(reading, name, inside)]
    if not ends or not {*starts, *ends} <= known.keys():
        return None
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    for field in (alone.graph.node, alone.graph.input, alone.graph.output):
        del field[:]
    alone.graph.node.extend(model.graph.node[number] for number in sorted(inside))
    alone.graph.input.extend(known[name] for name in sorted(starts))
    alone.graph.output.extend(known[name] for name in ends)
    return alone


def _parser(bindings: Bindings, builder: Any) -> tuple[Any, Any]:
    network = builder.create_network(bindings.typed_network)
    return network, bindings.parser(network, bindings.logger)


def _read_inside(reading: Reading, inside: Collection[int]) -> Iterator[str]:
    return (name for number in inside for name in reading.reads[number])


def _made(reading: Reading, inside: Collection[int]) -> list[str]:
    return [name for number in sorted(inside) for name in reading.makes[number]]


def _leaves(reading: Reading, name: str, inside: Collection[int]) -> bool:
    """Whether a tensor that is made inside is an output, or read outside."""
    outside = (names for number, names in enumerate(reading.reads) if number not in inside)
    return name in reading.outputs or any(name in names for names in outside)
