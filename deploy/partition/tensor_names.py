"""Names of the boundary tensors of all subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from deploy.partition.backward_slice import Subgraph
from deploy.partition.cut_points import BoundaryTensor, CutPoints, PartitionError


@dataclass(frozen=True)
class NamedTensor:
    """A tensor that goes into or comes out of a segment, and its name there."""

    name: str
    value: ir.Value


@dataclass(frozen=True)
class NamedSubgraph:
    """A subgraph whose boundary tensors have names."""

    subgraph: Subgraph
    inputs: tuple[NamedTensor, ...]
    outputs: tuple[NamedTensor, ...]


@dataclass(frozen=True)
class NamedChain:
    """The subgraphs of a chain, in which equal names are equal tensors.

    Attributes:
        subgraphs: in the order of their cuts.
        points: for the name of each tensor, its point, or the graph's own name of it.
        values: for the name of each tensor, what it is in the graph.
        results: the names of those tensors that are outputs of the whole graph, in its order.
    """

    subgraphs: tuple[NamedSubgraph, ...]
    points: Mapping[str, str]
    values: Mapping[str, ir.Value]
    results: tuple[str, ...]


def name_tensors(subgraphs: Sequence[Subgraph], cut_points: CutPoints) -> NamedChain:
    """Name every boundary tensor, so that equal names are equal tensors.

    Raises:
        PartitionError: two tensors want one name, or a subgraph takes what a later one gives.
    """
    names = _Names(reserved=cut_points.outputs)
    starts = {start.value for subgraph in subgraphs for start in subgraph.starts}
    for name, value in cut_points.inputs.items():
        if value in starts or cut_points.outputs.get(name) is value:
            names.assign(name, BoundaryTensor(name, name, value), "the graph's input")
    outputs = [_name_outputs(subgraph, names) for subgraph in subgraphs]
    inputs = [
        _name_inputs(subgraph, names, subgraphs[number:], outputs[number:])
        for number, subgraph in enumerate(subgraphs)
    ]
    ends = {tensor.name: tensor.value for tensors in outputs for tensor in tensors}
    unchanged = {
        name: value
        for name, value in cut_points.inputs.items()
        if cut_points.outputs.get(name) is value
    }
    order = {value: number for number, value in enumerate(cut_points.outputs.values())}
    results = {name: value for name, value in {**ends, **unchanged}.items() if value in order}
    return NamedChain(
        tuple(map(NamedSubgraph, subgraphs, inputs, outputs)),
        names.points,
        names.values,
        tuple(sorted(results, key=lambda name: order[results[name]])),
    )


@dataclass
class _Names:
    """The names of a chain's tensors, each used once; ``reserved`` are those of the outputs."""

    reserved: Mapping[str, ir.Value]
    values: dict[str, ir.Value] = field(default_factory=dict)
    points: dict[str, str] = field(default_factory=dict)
    names: dict[ir.Value, str] = field(default_factory=dict)

    def assign(self, name: str, tensor: BoundaryTensor, where: str) -> None:
        """Name a tensor.

        Raises:
            PartitionError: another tensor has this name.
        """
        if name in self.values:
            raise PartitionError(
                f"two tensors of the chain are called '{name}'",
                expected="names of their own",
                got=f"{self.points[name]} and {tensor.point} ({where})",
                do="Name the outputs of the segments with 'outputs'.",
            )
        self.values[name], self.points[name] = tensor.value, tensor.point
        self.names.setdefault(tensor.value, name)

    def choose(self, tensor: BoundaryTensor) -> str:
        """The default name of a tensor, or its whole point where another tensor has that name."""
        name = tensor.default_name
        is_reserved = self.reserved.get(name, tensor.value) is not tensor.value
        return tensor.point if is_reserved or name in self.values else name


def _name_outputs(subgraph: Subgraph, names: _Names) -> tuple[NamedTensor, ...]:
    tensors = []
    for number, end in enumerate(subgraph.ends):
        given = subgraph.output_names
        name = names.choose(end) if given is None else given[number]
        names.assign(name, end, f"output of segment '{subgraph.name}'")
        tensors.append(NamedTensor(name, end.value))
    return tuple(tensors)


def _name_inputs(
    subgraph: Subgraph,
    names: _Names,
    later: Sequence[Subgraph],
    outputs: Sequence[Sequence[NamedTensor]],
) -> tuple[NamedTensor, ...]:
    """The subgraph's inputs; ``later`` are it and those behind it, ``outputs`` what they give."""
    makers = {
        tensor.name: maker.name
        for maker, tensors in zip(later, outputs, strict=True)
        for tensor in tensors
    }
    for start in subgraph.starts:
        if start.value not in names.names:
            names.assign(names.choose(start), start, f"input of '{subgraph.name}'")
        name = names.names[start.value]
        if name in makers:
            raise PartitionError(
                f"segment '{subgraph.name}' takes '{name}' from the later segment '{makers[name]}'",
                do=f"List '{makers[name]}' before it.",
            )
    return tuple(NamedTensor(names.names[start.value], start.value) for start in subgraph.starts)
