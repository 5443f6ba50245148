"""Names of the boundary tensors of all subgraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from deploy.partition.cut_points import BoundaryTensor, CutPoints, PartitionError
from deploy.partition.subgraphs import Subgraph


@dataclass(frozen=True)
class NamedTensor:
    """A tensor that goes into or comes out of a segment, and its name there."""

    name: str
    value: ir.Value


@dataclass(frozen=True)
class NamedSubgraph:
    """A part whose tensors have names."""

    part: Subgraph
    inputs: tuple[NamedTensor, ...]
    outputs: tuple[NamedTensor, ...]


@dataclass(frozen=True)
class NamedSubgraphs:
    """All parts of a chain.

    Attributes:
        parts: in the order of their cuts.
        keys: for the name of each tensor, its point, or the graph's own name of it.
        values: for the name of each tensor, what it is in the graph.
        results: the names of those tensors that are outputs of the whole graph.
    """

    parts: tuple[NamedSubgraph, ...]
    keys: Mapping[str, str]
    values: Mapping[str, ir.Value]
    results: tuple[str, ...]


def name_tensors(parts: Sequence[Subgraph], places: CutPoints) -> NamedSubgraphs:
    """Name every tensor, so that equal names are equal tensors.

    Raises:
        PartitionError: two tensors want one name, or a part takes what a later one gives.
    """
    names = _Names(reserved=places.outputs)
    taken = {start.value for part in parts for start in part.piece.starts}
    for name, value in places.inputs.items():
        if value in taken or places.outputs.get(name) is value:
            names.give(name, BoundaryTensor(name, name, value), "the graph's input")
    outputs = [_outputs(part, names) for part in parts]
    inputs = [
        _inputs(part, names, parts[number:], outputs[number:]) for number, part in enumerate(parts)
    ]
    wired = tuple(NamedSubgraph(*each) for each in zip(parts, inputs, outputs, strict=True))
    ends = {wire.name: wire.value for part in wired for wire in part.outputs}
    through = {
        name: value for name, value in places.inputs.items() if places.outputs.get(name) is value
    }
    results = set(places.outputs.values())
    return NamedSubgraphs(
        wired,
        names.keys,
        names.values,
        tuple(name for name, value in {**ends, **through}.items() if value in results),
    )


@dataclass
class _Names:
    """The names of a chain's tensors, each given once; ``reserved`` are those of the outputs."""

    reserved: Mapping[str, ir.Value]
    values: dict[str, ir.Value] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    names: dict[ir.Value, str] = field(default_factory=dict)

    def give(self, name: str, border: BoundaryTensor, where: str) -> None:
        """Name a tensor.

        Raises:
            PartitionError: another tensor has this name.
        """
        if name in self.values:
            raise PartitionError(
                f"two tensors of the chain are called '{name}'",
                expected="names of their own",
                got=f"{self.keys[name]} and {border.key} ({where})",
                do="Name the outputs of the segments with 'outputs'.",
            )
        self.values[name], self.keys[name] = border.value, border.key
        self.names.setdefault(border.value, name)

    def free(self, border: BoundaryTensor) -> str:
        """The short name of a tensor, or its whole point where that is taken."""
        is_anothers = self.reserved.get(border.name, border.value) is not border.value
        return border.key if is_anothers or border.name in self.values else border.name


def _outputs(part: Subgraph, names: _Names) -> tuple[NamedTensor, ...]:
    chosen = []
    for number, end in enumerate(part.ends):
        name = names.free(end) if part.outputs is None else part.outputs[number]
        names.give(name, end, f"output of segment '{part.name}'")
        chosen.append(NamedTensor(name, end.value))
    return tuple(chosen)


def _inputs(
    part: Subgraph, names: _Names, rest: Sequence[Subgraph], given: Sequence[Sequence[NamedTensor]]
) -> tuple[NamedTensor, ...]:
    """The part's inputs; ``rest`` are the part itself and later ones, ``given`` what they give."""
    later = {
        wire.name: other.name for other, wires in zip(rest, given, strict=True) for wire in wires
    }
    for start in part.piece.starts:
        if start.value not in names.names:
            names.give(names.free(start), start, f"input of '{part.name}'")
        name = names.names[start.value]
        if name in later:
            raise PartitionError(
                f"segment '{part.name}' takes '{name}' from the later segment '{later[name]}'",
                do=f"List '{later[name]}' before it.",
            )
    return tuple(NamedTensor(names.names[start.value], start.value) for start in part.piece.starts)
