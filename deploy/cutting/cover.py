"""Cuts that go through the whole model: parts that leave nothing out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from deploy.cutting.anatomy import Anatomy, is_weight
from deploy.cutting.carve import came_by, origin
from deploy.cutting.closure import Closure, Piece
from deploy.cutting.cuts import Border, PartitionError, Places
from deploy.cutting.parts import Part


def cover(anatomy: Anatomy, places: Places, cuts: Sequence[Sequence[str]]) -> list[Part]:
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

    anatomy: Anatomy
    places: Places
    begin: dict[ir.Value, Border] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    ends: list[list[Border]] = field(default_factory=list)
    owner: dict[ir.Node, int] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin = {v: Border(name, name, v) for name, v in self.places.inputs.items()}

    def add(self, border: list[Border], where: str, *, first: bool) -> None:
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
            border = Border(name, name, value)
            producer = value.producer()
            if producer in self.owner and producer is not None and value not in given:
                self.ends[self.owner[producer]].append(border)
            elif value not in given and self.places.inputs.get(name) is not value:
                rest.append(border)
        if rest:
            self._add(rest)

    def parts(self) -> list[Part]:
        """The parts, named by their numbers."""
        pairs = enumerate(zip(self.pieces, self.ends, strict=True))
        return [Part(f"part{n}", piece, tuple(ends), None) for n, (piece, ends) in pairs]

    def _add(self, ends: list[Border]) -> None:
        closure = Closure(self.anatomy, self.begin, ends)
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

    def _trivial(self) -> list[Border]:
        """The graph's outputs that are inputs under another name, or depend on none."""
        return [
            Border(name, name, value)
            for name, value in self.places.outputs.items()
            if self.places.inputs.get(name) is not value and not self._depends(value)
        ]

    def _depends(self, value: ir.Value) -> bool:
        return not (
            value.is_graph_input() or is_weight(value) or value.producer() in self.anatomy.rootless
        )

    def _check_new(self, end: Border, where: str) -> None:
        if self.anatomy.is_constant(end.value):
            raise PartitionError(
                f"{where}: {end.key} is the same in every run",
                got=origin(end.value),
                do="Leave it out: every part gets its own copy of constants.",
            )
        producer = end.value.producer()
        if producer in self.owner:
            raise PartitionError(
                f"{where}: {end.key} is computed before an earlier cut already",
                got=origin(end.value),
                do="List the cuts in the order of the data flow.",
            )

    def _check_tight(self, closure: Closure, piece: Piece) -> None:
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
            got=f"also {came_by(here)}",
            do=f"{how} them to the cut: cuts: "
            f"[[..., {', '.join(str(need.value.name) for need in here)}]].",
        )
