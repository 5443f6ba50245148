"""Exported -> segments: the whole model cut at its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from backends.contract import Dynamic, Segment
from deploy.anatomy import Anatomy
from deploy.carve import Piece, carve, whole
from deploy.cuts import Border, Cut, PartitionError, Places
from deploy.exported import Exported
from deploy.graph import describe, spec_of
from deploy.places import take_out_marks
from deploy.segments import INLINE_BYTES, Wire, build, write

__all__ = ["Cut", "Cutting", "PartitionError", "partition"]


@dataclass(frozen=True)
class Cutting:
    """A model in segments.

    Attributes:
        segments: in the order of their cuts. Tensors of one name are the same tensor.
        points: for the name of each of their inputs and outputs, where ``reference()`` keeps
            PyTorch's own value of it.
    """

    segments: tuple[Segment, ...]
    points: Mapping[str, str]


@dataclass(frozen=True)
class _Part:
    """A segment before its inputs have names."""

    name: str
    piece: Piece
    ends: tuple[Border, ...]
    outputs: tuple[str, ...]


@dataclass
class _Names:
    """The names of a chain's tensors, each given once."""

    values: dict[str, ir.Value] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    names: dict[ir.Value, str] = field(default_factory=dict)

    def give(self, name: str, border: Border, where: str) -> None:
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


def partition(
    exported: Exported, cuts: Sequence[Cut], out: Path, *, inline_bytes: int = INLINE_BYTES
) -> Cutting:
    """Cut a model into segments; the parts that no segment covers are the host's.

    A segment's input is called as the graph's input or as an earlier segment's output, if it is
    one, so that a chain wires by name; otherwise as the last part of its point, or as the whole
    point where another tensor has that name.

    Args:
        exported: the whole model.
        cuts: the segments, each after those whose outputs it takes. None of them: the whole
            model is one segment called ``model``.
        out: the folder that gets ``<segment>.onnx``.
        inline_bytes: a segment with more weights keeps them in ``<segment>.onnx.data``.

    Raises:
        PartitionError: a cut names no place of this model, or does not give a segment that
            depends on its start alone; or two segments share a node or a name.
    """
    model = ir.load(exported.onnx)
    places = take_out_marks(model, exported.marks)
    anatomy = Anatomy(model.graph)
    parts = _parts(anatomy, places, cuts) if cuts else [_whole(anatomy, places)]
    _check_disjoint(parts)
    names = _named(parts, places)
    wired = [(part, _inputs(part, names, parts), _outputs(part)) for part in parts]
    segments = tuple(_segment(exported, out, *each) for each in wired)
    for segment, (part, inputs, outputs) in zip(segments, wired, strict=True):
        write(build(model, part.name, part.piece, inputs, outputs), segment.onnx, inline_bytes)
    used = {spec.name for segment in segments for spec in (*segment.inputs, *segment.outputs)}
    return Cutting(segments, {name: key for name, key in names.keys.items() if name in used})


def _whole(anatomy: Anatomy, places: Places) -> _Part:
    inputs = [Border(name, name, value) for name, value in places.inputs.items()]
    ends = tuple(Border(name, name, value) for name, value in places.outputs.items())
    piece = whole(anatomy, inputs, ends)
    return _Part("model", piece, ends, tuple(places.outputs))


def _parts(anatomy: Anatomy, places: Places, cuts: Sequence[Cut]) -> list[_Part]:
    _check_segment_names([cut.name for cut in cuts])
    return [_part(anatomy, places, cut) for cut in cuts]


def _part(anatomy: Anatomy, places: Places, cut: Cut) -> _Part:
    starts, ends = places.starts(cut), places.ends(cut)
    outputs = [end.name for end in ends] if cut.outputs is None else cut.outputs
    if len(outputs) != len(ends):
        raise PartitionError(
            f"outputs of segment '{cut.name}'",
            expected=f"{len(ends)} names for {', '.join(end.key for end in ends)}",
            got=f"{len(outputs)}: {', '.join(outputs)}",
        )
    return _Part(cut.name, carve(anatomy, cut, starts, ends), tuple(ends), tuple(outputs))


def _check_segment_names(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise PartitionError(
                "name of a segment", expected="letters, digits and any of _ . -", got=repr(name)
            )
        if names.count(name) > 1:
            raise PartitionError(f"two segments are called '{name}'")


def _check_disjoint(parts: Sequence[_Part]) -> None:
    owner: dict[ir.Node, str] = {}
    for part in parts:
        for node in part.piece.nodes:
            if node not in part.piece.shared and owner.setdefault(node, part.name) != part.name:
                raise PartitionError(
                    f"{describe(node)} is in two segments: '{owner[node]}' and '{part.name}'",
                    do=f"Start '{part.name}' where '{owner[node]}' ends, or end that earlier.",
                )


def _named(parts: Sequence[_Part], places: Places) -> _Names:
    """The names of the graph's inputs that the parts take, and of all outputs."""
    names = _Names()
    taken = {start.value for part in parts for start in part.piece.starts}
    for name, value in places.inputs.items():
        if value in taken:
            names.give(name, Border(name, name, value), "the graph's input")
    for part in parts:
        for name, end in zip(part.outputs, part.ends, strict=True):
            names.give(name, end, f"output of segment '{part.name}'")
    return names


def _inputs(part: _Part, names: _Names, parts: Sequence[_Part]) -> list[Wire]:
    later = {name: other.name for other in parts[parts.index(part) :] for name in other.outputs}
    for start in part.piece.starts:
        if start.value not in names.names:
            free = start.name not in names.values
            names.give(start.name if free else start.key, start, f"input of '{part.name}'")
        name = names.names[start.value]
        if name in later:
            raise PartitionError(
                f"segment '{part.name}' takes '{name}' from the later segment '{later[name]}'",
                do=f"List '{later[name]}' before it.",
            )
    return [Wire(names.names[start.value], start.value) for start in part.piece.starts]


def _outputs(part: _Part) -> list[Wire]:
    return [Wire(name, end.value) for name, end in zip(part.outputs, part.ends, strict=True)]


def _segment(
    exported: Exported, out: Path, part: _Part, inputs: Sequence[Wire], outputs: Sequence[Wire]
) -> Segment:
    path = out / f"{part.name}.onnx"
    if path.resolve() == exported.onnx.resolve():
        raise PartitionError(
            f"segment '{part.name}' would overwrite {exported.onnx}", do="Choose another folder."
        )
    dims = [dim for spec in exported.inputs for dim in spec.shape]
    spans = {dim.name: dim for dim in dims if isinstance(dim, Dynamic)}
    return Segment(
        part.name,
        path,
        tuple(spec_of(wire.value, spans, wire.name, PartitionError) for wire in inputs),
        tuple(spec_of(wire.value, spans, wire.name, PartitionError) for wire in outputs),
    )
