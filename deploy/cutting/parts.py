"""Cuts -> the parts of a graph, before their tensors have names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from deploy.cutting.anatomy import Anatomy
from deploy.cutting.carve import carve, whole
from deploy.cutting.closure import Piece
from deploy.cutting.cuts import Border, Cut, PartitionError, Places
from deploy.cutting.graph import describe, host_steps_in


@dataclass(frozen=True)
class Part:
    """A segment before its tensors have names.

    Attributes:
        name: the segment's name.
        piece: its nodes.
        ends: the tensors that it gives.
        outputs: a name for each, or nothing where each is called as it is where it was found.
    """

    name: str
    piece: Piece
    ends: tuple[Border, ...]
    outputs: tuple[str, ...] | None


def whole_model(anatomy: Anatomy, places: Places, tensors: Sequence[str] = ()) -> Part:
    """The model as one part, with all its inputs; it gives its outputs, or ``tensors`` of it."""
    inputs = [Border(name, name, value) for name, value in places.inputs.items()]
    marks = {str(at): value for at, value in places.marks.items()}
    found = {**places.tensors, **marks, **places.outputs}
    ends = tuple(
        Border(name, name, found[name])
        for name in tensors or places.outputs
        if places.inputs.get(name) is not found[name]
    )
    if not ends:
        raise PartitionError("the model computes nothing: its outputs are its inputs")
    return Part("model", whole(anatomy, inputs, ends), ends, None)


def explicit(anatomy: Anatomy, places: Places, cuts: Sequence[Cut]) -> list[Part]:
    """A part for each cut.

    Raises:
        PartitionError: a cut is none, two have one name, or two share a node.
    """
    _check_names([cut.name for cut in cuts])
    parts = [_part(anatomy, places, cut) for cut in cuts]
    _check_disjoint(parts)
    return parts


def check_engines_alone(parts: Sequence[Part]) -> None:
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


def _part(anatomy: Anatomy, places: Places, cut: Cut) -> Part:
    starts, ends = places.starts(cut), places.ends(cut)
    if cut.outputs is not None and len(cut.outputs) != len(ends):
        raise PartitionError(
            f"outputs of segment '{cut.name}'",
            expected=f"{len(ends)} names for {', '.join(end.key for end in ends)}",
            got=f"{len(cut.outputs)}: {', '.join(cut.outputs)}",
        )
    names = tuple(end.name for end in ends) if cut.outputs is None else tuple(cut.outputs)
    return Part(cut.name, carve(anatomy, cut, starts, ends), tuple(ends), names)


def _check_names(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise PartitionError(
                "name of a segment", expected="letters, digits and any of _ . -", got=repr(name)
            )
        if names.count(name) > 1:
            raise PartitionError(f"two segments are called '{name}'")


def _check_disjoint(parts: Sequence[Part]) -> None:
    owner: dict[ir.Node, str] = {}
    for part in parts:
        for node in part.piece.nodes:
            if node not in part.piece.shared and owner.setdefault(node, part.name) != part.name:
                raise PartitionError(
                    f"{describe(node)} is in two segments: '{owner[node]}' and '{part.name}'",
                    do=f"Start '{part.name}' where '{owner[node]}' ends, or end that earlier.",
                )
