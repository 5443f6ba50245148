"""Cut points: cuts as they are written, and the tensors of the graph that they name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from backends.contract import DeployError, Dynamic
from deploy.graph.nodes import MARK_DOMAIN, bodies, describe, is_mark
from deploy.graph.points import MarkedTensor, Point, PointError, Side, parse_point


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
        dynamic: the sizes that an axis of a tensor of this segment may have, by the tensor's name
            in the chain, in the place of what is known of it otherwise.
    """

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None
    dynamic: dict[str, dict[int, Dynamic]] = field(default_factory=dict)


@dataclass(frozen=True)
class BoundaryTensor:
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
class CutPoints:
    """Where a graph can be cut.

    Attributes:
        inputs: the whole graph's inputs.
        outputs: the whole graph's outputs.
        marks: the value that each marked tensor is in the graph.
        dropped: tensors that were marked, and of which the exporter left no trace.
        tensors: every tensor of the graph, if each is a place by its own name.
        buried: what cannot be cut at since it lies inside a body or function, and which one.
    """

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    marks: Mapping[MarkedTensor, ir.Value]
    dropped: frozenset[MarkedTensor]
    tensors: Mapping[str, ir.Value] = field(default_factory=dict)
    buried: Mapping[str, str] = field(default_factory=dict)

    def starts(self, cut: Cut) -> dict[str, list[BoundaryTensor]]:
        """The tensors of each entry of ``cut.start``.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        return self._borders(f"start of segment '{cut.name}'", cut.start, self.inputs)

    def ends(self, cut: Cut) -> list[BoundaryTensor]:
        """The tensors of ``cut.end`` in order.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        found = self._borders(f"end of segment '{cut.name}'", cut.end, self.outputs)
        return [border for borders in found.values() for border in borders]

    def across(self, points: Sequence[str]) -> list[BoundaryTensor]:
        """The tensors at which one entry of ``cuts`` cuts the whole graph.

        A bare mark stands for its outputs, or for its inputs where it has no outputs.

        Raises:
            PartitionError: there are none, or one names nothing.
        """
        where = f"cut at [{', '.join(points)}]"
        full = [self._with_side(point) for point in points]
        found = self._borders(where, full, self.outputs)
        return list({b.value: b for borders in found.values() for b in borders}.values())

    def marks_on(self, value: ir.Value) -> tuple[str, ...]:
        """Every marked tensor that is this value."""
        return tuple(str(at) for at, marked in self.marks.items() if marked is value)

    def _with_side(self, point: str) -> str:
        traced = (*self.marks, *self.dropped)
        sides = {at.side for at in traced if point in (at.mark, f"{at.mark}[{at.call}]")}
        known = point in self.tensors or point in self.outputs
        return point if known or not sides else f"{point}:{max(sides)}"  # output before input

    def _borders(
        self, where: str, texts: Sequence[str], ends: Mapping[str, ir.Value]
    ) -> dict[str, list[BoundaryTensor]]:
        plain = {**self.tensors, **ends}
        if not texts:
            raise PartitionError(where, expected="at least one point", got="none")
        return {
            text: [BoundaryTensor(text, text, plain[text])]
            if text in plain
            else self._resolve(where, text, plain)
            for text in texts
        }

    def _resolve(
        self, where: str, text: str, plain: Mapping[str, ir.Value]
    ) -> list[BoundaryTensor]:
        if text in self.buried:
            raise _buried(where, text, self.buried[text])
        if self.tensors and not self.marks:
            raise _unknown_tensor(where, text, plain)
        point = self._point(where, text, plain)
        traced = [*self.marks, *self.dropped]
        inside = [at for at in self.buried if at == str(point) or at.startswith(f"{point}.")]
        if inside:
            raise _buried(where, text, self.buried[inside[0]])
        if point.mark not in {at.mark for at in traced}:
            raise _unknown(f"unknown mark '{point.mark}' in the {where}", text, traced)
        covered = [at for at in traced if point.covers(at)]
        if not covered:
            of_mark = [at for at in traced if at.mark == point.mark]
            raise _unknown(f"no point '{text}' in the {where}", text, of_mark)
        alive = [at for at in covered if at in self.marks]
        if not alive or (len(alive) < len(covered) and not where.startswith("start")):
            raise _dropped(where, text, [at for at in covered if at in self.dropped])
        return [BoundaryTensor(str(at), at.path, self.marks[at]) for at in alive]

    def _point(self, where: str, text: str, plain: Mapping[str, ir.Value]) -> Point:
        try:
            return parse_point(text)
        except PointError as error:
            points = {f"{at.mark}:{at.side}" for at in self.marks}
            if self.tensors:
                raise _unknown_tensor(where, text, {*plain, *points}) from error
            raise PartitionError(
                f"malformed point in the {where}",
                expected="name:input, name:output, name[1]:input, name:input.path, "
                f"or one of {', '.join(plain)}",
                got=repr(text),
                do=_suggest(text, {*plain, *points}),
            ) from error


def _unknown_tensor(where: str, text: str, known: Iterable[str]) -> PartitionError:
    return PartitionError(
        f"unknown tensor '{text}' in the {where}",
        expected="the name of a tensor of the graph",
        got="none of that name",
        do=_suggest(text, known),
    )


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


def _buried(where: str, text: str, inside: str) -> PartitionError:
    return PartitionError(
        f"'{text}' in the {where} lies inside the body of {inside}",
        expected="a tensor of the graph itself",
        do="Cut before or after that operation: a body cannot be divided.",
    )


def _dropped(where: str, text: str, tensors: list[MarkedTensor]) -> PartitionError:
    return PartitionError(
        f"'{text}' in the {where}: the exporter dropped {', '.join(map(str, tensors))}",
        do="Nothing uses that marked tensor: mark the one that the forward goes on with, "
        "or name only the tensors that are used.",
    )


def extract_cut_points(
    model: ir.Model, traced: Sequence[MarkedTensor], *, by_name: bool
) -> CutPoints:
    """Remove the marks from a model.

    Several marks on one tensor, one after the other, are then several names of one value.

    Args:
        model: the model, changed in place.
        traced: every tensor that was marked, also those that left no node in the model.
        by_name: whether every tensor of the graph is a place to cut.
    """
    graph = model.graph
    names = [str(value.name) for value in graph.outputs]
    marks = {_marked_tensor(node): _bypass(node) for node in list(graph) if is_mark(node)}
    buried = {
        at: where for node, where in _inner_nodes(model) for at in _tensor_names(node, by_name)
    }
    for node, _ in list(_inner_nodes(model)):
        _make_identity(node)
    return CutPoints(
        inputs={str(value.name): value for value in graph.inputs},
        outputs=dict(zip(names, graph.outputs, strict=True)),
        marks=marks,
        dropped=frozenset(at for at in traced if at not in marks and str(at) not in buried),
        tensors=dict(_all_tensors(graph)) if by_name else {},
        buried=buried,
    )


def _all_tensors(graph: ir.Graph) -> Iterator[tuple[str, ir.Value]]:
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.name:
            yield value.name, value


def _inner_nodes(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """Every node of a body or a function, and what that is the body of."""
    for node in model.graph:
        for body in bodies(node):
            for inner in ir.traversal.RecursiveGraphIterator(body):
                yield inner, describe(node)
    for function in model.functions.values():
        if function.domain == MARK_DOMAIN:
            continue
        for inner in ir.traversal.RecursiveGraphIterator(function.graph):
            yield inner, f"function '{function.domain}::{function.name}'"


def _tensor_names(node: ir.Node, by_name: bool) -> list[str]:
    """By what names a cut could ask for what the node makes."""
    if is_mark(node):
        return [str(_marked_tensor(node))]
    return [value.name for value in node.outputs if value.name] if by_name else []


def _make_identity(node: ir.Node) -> None:
    """Let a mark that cannot be cut at be of no domain that an engine would have to know."""
    if is_mark(node):
        node.domain, node.op_type = "", "Identity"
        node.attributes.clear()


def _marked_tensor(node: ir.Node) -> MarkedTensor:
    at = node.attributes
    side: Side = "input" if at["side"].as_string() == "input" else "output"
    return MarkedTensor(at["mark"].as_string(), at["call"].as_int(), side, at["path"].as_string())


def _bypass(node: ir.Node) -> ir.Value:
    """Let the users of a mark's result use the tensor that goes into it."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None, "a mark has an input"
    source.type = source.type or result.type  # the exporter's rewrites may have lost them
    # decompositions may have given a size that depends on the data another name
    source.shape = result.shape or source.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    assert node.graph is not None, "a mark lies in a graph"
    node.graph.remove(node, safe=True)
    return source
