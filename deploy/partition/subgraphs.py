"""Cuts -> the subgraphs of a model, before their tensors have names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.nodes import describe, host_steps_in
from deploy.partition.backward_slice import (
    BackwardSlice,
    GraphSlice,
    describe_origin,
    describe_uses,
    slice_between,
    whole_slice,
)
from deploy.partition.cut_points import BoundaryTensor, Cut, CutPoints, PartitionError


@dataclass(frozen=True)
class Subgraph:
    """A segment before its tensors have names.

    Attributes:
        name: the segment's name.
        piece: its nodes.
        ends: the tensors that it gives.
        outputs: a name for each, or nothing where each is called as it is where it was found.
    """

    name: str
    piece: GraphSlice
    ends: tuple[BoundaryTensor, ...]
    outputs: tuple[str, ...] | None


def whole_subgraph(anatomy: GraphIndex, places: CutPoints, tensors: Sequence[str] = ()) -> Subgraph:
    """The model as one part, with all its inputs; it gives its outputs, or ``tensors`` of it."""
    inputs = [BoundaryTensor(name, name, value) for name, value in places.inputs.items()]
    marks = {str(at): value for at, value in places.marks.items()}
    found = {**places.tensors, **marks, **places.outputs}
    ends = tuple(
        BoundaryTensor(name, name, found[name])
        for name in tensors or places.outputs
        if places.inputs.get(name) is not found[name]
    )
    if not ends:
        raise PartitionError("the model computes nothing: its outputs are its inputs")
    return Subgraph("model", whole_slice(anatomy, inputs, ends), ends, None)


def cut_between(anatomy: GraphIndex, places: CutPoints, cuts: Sequence[Cut]) -> list[Subgraph]:
    """A part for each cut.

    Raises:
        PartitionError: a cut is none, two have one name, or two share a node.
    """
    _check_names([cut.name for cut in cuts])
    parts = [_subgraph(anatomy, places, cut) for cut in cuts]
    _check_disjoint(parts)
    return parts


def check_no_host_steps(parts: Sequence[Subgraph]) -> None:
    """Refuse what an export only holds a place for, since the host does it: no engine has that.

    Raises:
        PartitionError: naming the part, and the host steps that lie in it.
    """
    for part in parts:
        steps = list(dict.fromkeys(host_steps_in(part.piece.nodes)))
        if steps:
            raise PartitionError(
                f"segment '{part.name}'",
                expected="what an engine can run",
                got=f"what is done on the host too: {', '.join(steps)}",
                do="Cut before and behind it, and let steps of partition.host make what is "
                "between; the model's own partition does so.",
            )


def _subgraph(anatomy: GraphIndex, places: CutPoints, cut: Cut) -> Subgraph:
    starts, ends = places.starts(cut), places.ends(cut)
    if cut.outputs is not None and len(cut.outputs) != len(ends):
        raise PartitionError(
            f"outputs of segment '{cut.name}'",
            expected=f"{len(ends)} names for {', '.join(end.key for end in ends)}",
            got=f"{len(cut.outputs)}: {', '.join(cut.outputs)}",
        )
    names = tuple(end.name for end in ends) if cut.outputs is None else tuple(cut.outputs)
    return Subgraph(cut.name, slice_between(anatomy, cut, starts, ends), tuple(ends), names)


def _check_names(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise PartitionError(
                "name of a segment", expected="letters, digits and any of _ . -", got=repr(name)
            )
        if names.count(name) > 1:
            raise PartitionError(f"two segments are called '{name}'")


def _check_disjoint(parts: Sequence[Subgraph]) -> None:
    owner: dict[ir.Node, str] = {}
    for part in parts:
        for node in part.piece.nodes:
            if node not in part.piece.shared and owner.setdefault(node, part.name) != part.name:
                raise PartitionError(
                    f"{describe(node)} is in two segments: '{owner[node]}' and '{part.name}'",
                    do=f"Start '{part.name}' where '{owner[node]}' ends, or end that earlier.",
                )


def cut_across(
    anatomy: GraphIndex, places: CutPoints, cuts: Sequence[Sequence[str]]
) -> list[Subgraph]:
    """Cut the whole model at each list of points, in the order of the data flow.

    Every part may take the graph's inputs and what earlier cuts name, and nothing else. An output
    of the graph is given by the first part that computes it.

    Args:
        anatomy: the graph.
        places: where it can be cut.
        cuts: the points of each border, such as ``[["features"], ["logits", "boxes"]]``.

    Raises:
        PartitionError: a point is none, or depends on no input; a cut lies before an earlier one;
            or a tensor slips past one.
    """
    layers = _Layers(anatomy, places)
    for number, points in enumerate(cuts):
        layers.add(places.across(points), f"the cut at [{', '.join(points)}]", first=not number)
    layers.add_rest()
    return layers.parts()


@dataclass
class _Layers:
    """The parts so far.

    Attributes:
        begin: what the next part may take.
        pieces: of each part.
        ends: of each part.
        owner: which part a node belongs to.
        cuts: the cut at the end of each part, for people.
    """

    anatomy: GraphIndex
    places: CutPoints
    begin: dict[ir.Value, BoundaryTensor] = field(default_factory=dict)
    pieces: list[GraphSlice] = field(default_factory=list)
    ends: list[list[BoundaryTensor]] = field(default_factory=list)
    owner: dict[ir.Node, int] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin = {v: BoundaryTensor(name, name, v) for name, v in self.places.inputs.items()}

    def add(self, border: list[BoundaryTensor], where: str, *, first: bool) -> None:
        """The part that ends at ``border``; the first one also gives what depends on nothing."""
        new = [end for end in border if end.value not in self.begin]
        if not new:
            raise PartitionError(
                f"{where} leaves a part empty: earlier cuts name its tensors, or it is where the "
                "model starts",
                do="Leave it out.",
            )
        for end in new:
            self._check_new(end, where)
        self._add([*new, *(self._trivial() if first else [])])
        self.cuts.append(where)

    def add_rest(self) -> None:
        """The part behind the last cut, if anything is left, and outputs that others computed."""
        given = {end.value for ends in self.ends for end in ends}
        rest = []
        for name, value in self.places.outputs.items():
            border = BoundaryTensor(name, name, value)
            producer = value.producer()
            if producer in self.owner and producer is not None and value not in given:
                self.ends[self.owner[producer]].append(border)
            elif value not in given and self.places.inputs.get(name) is not value:
                rest.append(border)
        if rest:
            self._add(rest)

    def parts(self) -> list[Subgraph]:
        """The parts, named by their numbers."""
        pairs = enumerate(zip(self.pieces, self.ends, strict=True))
        return [Subgraph(f"part{n}", piece, tuple(ends), None) for n, (piece, ends) in pairs]

    def _add(self, ends: list[BoundaryTensor]) -> None:
        closure = BackwardSlice(self.anatomy, self.begin, ends)
        used = {need.value for need in closure.needs}
        piece = closure.piece([self.begin[value] for value in self.begin if value in used])
        self._check_tight(closure, piece)
        self.owner |= dict.fromkeys(
            (node for node in piece.nodes if node not in piece.shared), len(self.pieces)
        )
        self.pieces.append(piece)
        self.ends.append(ends)
        self.begin |= {  # of a constant that the graph gives every part has a copy
            end.value: end
            for end in ends
            if end.value not in self.begin and not self.anatomy.is_constant(end.value)
        }

    def _trivial(self) -> list[BoundaryTensor]:
        """The graph's outputs that are inputs under another name, or depend on none."""
        return [
            BoundaryTensor(name, name, value)
            for name, value in self.places.outputs.items()
            if self.places.inputs.get(name) is not value and not self._depends(value)
        ]

    def _depends(self, value: ir.Value) -> bool:
        return not (
            value.is_graph_input() or is_weight(value) or value.producer() in self.anatomy.rootless
        )

    def _check_new(self, end: BoundaryTensor, where: str) -> None:
        if self.anatomy.is_constant(end.value):
            raise PartitionError(
                f"{where}: {end.key} is the same in every run",
                got=describe_origin(end.value),
                do="Leave it out: every part gets its own copy of constants.",
            )
        producer = end.value.producer()
        if producer in self.owner:
            raise PartitionError(
                f"{where}: {end.key} is computed before an earlier cut already",
                got=describe_origin(end.value),
                do="List the cuts in the order of the data flow.",
            )

    def _check_tight(self, closure: BackwardSlice, piece: GraphSlice) -> None:
        again = {node for node in piece.nodes if node in self.owner and node not in piece.shared}
        if not again:
            return
        slips = {
            need.value: need
            for need in closure.uses()
            if need.value not in self.begin
            and need.value.producer() in again
            and need.by not in again
        }
        past = {value: self.owner[node] for value in slips if (node := value.producer())}
        first = min(past.values())
        here = [slips[value] for value, number in past.items() if number == first]
        how = "Add" if self.places.tensors else "Mark them too, and add"
        raise PartitionError(
            f"{self.cuts[first]} lets tensors slip past: they are made before it and used "
            "behind it",
            expected="only tensors that the cuts name",
            got=f"also {describe_uses(here)}",
            do=f"{how} them to the cut: cuts: "
            f"[[..., {', '.join(str(need.value.name) for need in here)}]].",
        )
