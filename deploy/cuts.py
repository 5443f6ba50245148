"""Cuts, and the values of the graph at which they start and end."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from backends.contract import DeployError
from deploy.points import MarkedTensor, Point, PointError, parse_point


class PartitionError(DeployError):
    """A cut that cannot be made as it is written."""


@dataclass
class Cut:
    """A segment between its start and its end points.

    ``start`` may also name inputs of the whole graph, and ``end`` outputs of it.

    Attributes:
        name: the segment's name.
        start: points such as ``backbone:output``; one may stand for several tensors.
        end: points such as ``head:input``.
        outputs: a name for each end tensor; by default the last part of its point.
    """

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None


@dataclass(frozen=True)
class Border:
    """A tensor where a segment starts or ends.

    Attributes:
        key: where ``reference()`` keeps its value: a point, or an input or output of the graph.
        name: what the tensor is called where nobody names it.
        value: the tensor in the graph.
    """

    key: str
    name: str
    value: ir.Value


@dataclass(frozen=True)
class Places:
    """Where a graph can be cut.

    Attributes:
        inputs: the whole graph's inputs.
        outputs: the whole graph's outputs.
        marks: the value that each marked tensor is in the graph.
        dropped: tensors that were marked, and of which the exporter left no trace.
    """

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    marks: Mapping[MarkedTensor, ir.Value]
    dropped: frozenset[MarkedTensor]

    def starts(self, cut: Cut) -> dict[str, list[Border]]:
        """The tensors of each entry of ``cut.start``.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        return self._borders(cut.name, "start", cut.start, self.inputs)

    def ends(self, cut: Cut) -> list[Border]:
        """The tensors of ``cut.end`` in order.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        found = self._borders(cut.name, "end", cut.end, self.outputs)
        return [border for borders in found.values() for border in borders]

    def _borders(
        self, segment: str, side: str, texts: list[str], plain: Mapping[str, ir.Value]
    ) -> dict[str, list[Border]]:
        where = f"{side} of segment '{segment}'"
        if not texts:
            raise PartitionError(where, expected="at least one point", got="none")
        return {
            text: [Border(text, text, plain[text])]
            if text in plain
            else self._resolve(where, text, plain)
            for text in texts
        }

    def _resolve(self, where: str, text: str, plain: Mapping[str, ir.Value]) -> list[Border]:
        point = self._point(where, text, plain)
        traced = [*self.marks, *self.dropped]
        if point.mark not in {at.mark for at in traced}:
            raise _unknown(f"unknown mark '{point.mark}' in the {where}", text, traced)
        covered = [at for at in traced if point.covers(at)]
        if not covered:
            of_mark = [at for at in traced if at.mark == point.mark]
            raise _unknown(f"no point '{text}' in the {where}", text, of_mark)
        alive = [at for at in covered if at in self.marks]
        if not alive or (len(alive) < len(covered) and where.startswith("end")):
            raise _dropped(where, text, [at for at in covered if at in self.dropped])
        return [Border(str(at), at.path, self.marks[at]) for at in alive]

    def _point(self, where: str, text: str, plain: Mapping[str, ir.Value]) -> Point:
        try:
            return parse_point(text)
        except PointError as error:
            raise PartitionError(
                f"malformed point in the {where}",
                expected="name:input, name:output, name[1]:input, name:input.path, "
                f"or one of {', '.join(plain)}",
                got=repr(text),
                do=_suggest(text, {*plain, *(f"{at.mark}:{at.side}" for at in self.marks)}),
            ) from error


def _unknown(what: str, text: str, tensors: Iterable[MarkedTensor]) -> PartitionError:
    points = {str(Point(at.mark, at.call, at.side)): None for at in tensors}
    exact = {str(at): None for at in tensors}
    shown = [*points, *exact] if "." in text.partition(":")[2] else list(points)
    return PartitionError(
        what,
        expected=", ".join(shown) if shown else "a model with marks",
        got=text,
        do=_suggest(text, {**points, **exact}),
    )


def _suggest(text: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(text, list(candidates), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _dropped(where: str, text: str, tensors: list[MarkedTensor]) -> PartitionError:
    return PartitionError(
        f"'{text}' in the {where}: the exporter dropped {', '.join(map(str, tensors))}",
        do="Nothing uses that marked tensor: mark the one that the forward goes on with, "
        "or name only the tensors that are used.",
    )
