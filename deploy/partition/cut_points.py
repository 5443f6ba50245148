"""Cut points: cuts as they are written, and the tensors of the graph that they name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from backends.contract import DeployError, Dynamic
from deploy.graph.nodes import MARK_DOMAIN, bodies, describe_node, is_mark
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
        point: where ``reference_values`` keeps it: a point, or the graph's input or output.
        default_name: what the tensor is called where no name is given.
        value: the tensor in the graph.
    """

    point: str
    default_name: str
    value: ir.Value


BoundaryTensors = Sequence[BoundaryTensor]


@dataclass(frozen=True)
class CutPoints:
    """Where a graph can be cut.

    Attributes:
        inputs: the whole graph's inputs.
        outputs: the whole graph's outputs.
        marks: the value that each marked tensor is in the graph.
        dropped: tensors that were marked, and of which the exporter left no trace.
        tensors: every tensor of the graph, if each is a cut point by its own name.
        inside_bodies: the points that lie inside a body or function, where no cut can be, and a
            description of that body.
    """

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    marks: Mapping[MarkedTensor, ir.Value]
    dropped: frozenset[MarkedTensor]
    tensors: Mapping[str, ir.Value] = field(default_factory=dict)
    inside_bodies: Mapping[str, str] = field(default_factory=dict)

    def start_tensors(self, cut: Cut) -> dict[str, list[BoundaryTensor]]:
        """The tensors of each entry of ``cut.start``.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        return self._tensors_by_point(f"start of segment '{cut.name}'", cut.start, self.inputs)

    def end_tensors(self, cut: Cut) -> list[BoundaryTensor]:
        """The tensors of ``cut.end`` in order.

        Raises:
            PartitionError: there are none, or an entry names nothing.
        """
        where = f"end of segment '{cut.name}'"
        by_point = self._tensors_by_point(where, cut.end, self.outputs)
        return [tensor for tensors in by_point.values() for tensor in tensors]

    def tensors_across(
        self, points: Sequence[str], varying: Callable[[BoundaryTensors], BoundaryTensors]
    ) -> list[BoundaryTensor]:
        """The tensors at which one entry of ``cuts`` cuts the whole graph.

        A bare mark stands for its outputs, or for its inputs where it has no outputs. Where a whole
        side of a mark is named, tensors that nothing uses are left out of it, and those that each
        part can compute itself, such as an attention mask that depends on sizes alone.

        Args:
            points: of the entry.
            varying: the tensors of one mark without those that each part can compute itself.

        Raises:
            PartitionError: there are none, or one names nothing.
        """
        where = f"cut at [{', '.join(points)}]"
        full = [self._with_side(point) for point in points]
        by_point = self._tensors_by_point(where, full, self.outputs)
        tensors = [
            tensor
            for point, of_point in by_point.items()
            for tensor in self._without_known(point, of_point, varying)
        ]
        return list({tensor.value: tensor for tensor in tensors}.values())

    def _without_known(
        self,
        point: str,
        tensors: BoundaryTensors,
        varying: Callable[[BoundaryTensors], BoundaryTensors],
    ) -> BoundaryTensors:
        """The varying tensors; all of them where none varies, or where one is named by itself."""
        is_named = point in self.tensors or point in self.outputs or parse_point(point).path
        return tensors if is_named else varying(tensors) or tensors

    def marks_on(self, value: ir.Value) -> tuple[str, ...]:
        """Every marked tensor that is this value."""
        return tuple(str(tensor) for tensor, marked in self.marks.items() if marked is value)

    def _with_side(self, point: str) -> str:
        traced = (*self.marks, *self.dropped)
        sides = {t.side for t in traced if point in (t.mark, f"{t.mark}[{t.call}]")}
        known = point in self.tensors or point in self.outputs
        return point if known or not sides else f"{point}:{max(sides)}"  # output before input

    def _tensors_by_point(
        self, where: str, points: Sequence[str], graph_ends: Mapping[str, ir.Value]
    ) -> dict[str, list[BoundaryTensor]]:
        named = {**self.tensors, **graph_ends}
        if not points:
            raise PartitionError(where, expected="at least one point", got="none")
        return {
            point: [BoundaryTensor(point, point, named[point])]
            if point in named
            else self._marked_tensors(where, point, named)
            for point in points
        }

    def _marked_tensors(
        self, where: str, text: str, named: Mapping[str, ir.Value]
    ) -> list[BoundaryTensor]:
        if text in self.inside_bodies:
            raise _inside_body(where, text, self.inside_bodies[text])
        if self.tensors and not self.marks:
            raise _unknown_tensor(where, text, named)
        point = self._parse(where, text, named)
        traced = [*self.marks, *self.dropped]
        inside = [p for p in self.inside_bodies if p == str(point) or p.startswith(f"{point}.")]
        if inside:
            raise _inside_body(where, text, self.inside_bodies[inside[0]])
        if point.mark not in {tensor.mark for tensor in traced}:
            raise unknown_mark(where, text, traced)
        covered = [tensor for tensor in traced if point.covers(tensor)]
        if not covered:
            of_mark = [tensor for tensor in traced if tensor.mark == point.mark]
            raise _unknown_point(f"no point '{text}' in the {where}", text, of_mark)
        alive = [tensor for tensor in covered if tensor in self.marks]
        may_lack_some = where.startswith("start") or (where.startswith("cut at") and not point.path)
        if not alive or (len(alive) < len(covered) and not may_lack_some):
            raise _dropped(where, text, [t for t in covered if t in self.dropped])
        return [BoundaryTensor(str(t), t.path, self.marks[t]) for t in alive]

    def _parse(self, where: str, text: str, named: Mapping[str, ir.Value]) -> Point:
        try:
            return parse_point(text)
        except PointError as error:
            points = {f"{tensor.mark}:{tensor.side}" for tensor in self.marks}
            if self.tensors:
                raise _unknown_tensor(where, text, {*named, *points}) from error
            raise PartitionError(
                f"malformed point in the {where}",
                expected="name:input, name:output, name[1]:input, name:input.path, "
                f"or one of {', '.join(named)}",
                got=repr(text),
                do=_suggest(text, {*named, *points}),
            ) from error


def _unknown_tensor(where: str, text: str, known: Iterable[str]) -> PartitionError:
    return PartitionError(
        f"unknown tensor '{text}' in the {where}",
        expected="the name of a tensor of the graph",
        got="none of that name",
        do=_suggest(text, known),
    )


def unknown_mark(where: str, text: str, tensors: Iterable[MarkedTensor]) -> PartitionError:
    """The error of a point of a mark that the model does not have.

    Args:
        where: the point stands, such as ``end of segment 'head'``.
        text: the point.
        tensors: every marked tensor that there is.
    """
    return _unknown_point(f"unknown mark '{text.partition(':')[0]}' in the {where}", text, tensors)


def _unknown_point(what: str, text: str, tensors: Iterable[MarkedTensor]) -> PartitionError:
    points = {str(Point(tensor.mark, tensor.call, tensor.side)): None for tensor in tensors}
    exact = {str(tensor): None for tensor in tensors}
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


def _inside_body(where: str, text: str, body: str) -> PartitionError:
    return PartitionError(
        f"'{text}' in the {where} lies inside the body of {body}",
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
    """Remove the marks from a model, and tell where it can be cut.

    Several marks on one tensor, one after the other, are then several names of one value.

    Args:
        model: the model, changed in place.
        traced: every tensor that was marked, also those that left no node in the model.
        by_name: whether every tensor of the graph is a cut point by its name.
    """
    graph = model.graph
    names = [str(value.name) for value in graph.outputs]
    marks = {_marked_tensor(node): _bypass(node) for node in list(graph) if is_mark(node)}
    inner_nodes = list(_inner_nodes(model))
    inside_bodies = {
        point: body for node, body in inner_nodes for point in _points_of(node, by_name)
    }
    for node, _ in inner_nodes:
        _make_identity(node)
    return CutPoints(
        inputs={str(value.name): value for value in graph.inputs},
        outputs=dict(zip(names, graph.outputs, strict=True)),
        marks=marks,
        dropped=frozenset(t for t in traced if t not in marks and str(t) not in inside_bodies),
        tensors=dict(_named_tensors(graph)) if by_name else {},
        inside_bodies=inside_bodies,
    )


def _named_tensors(graph: ir.Graph) -> Iterator[tuple[str, ir.Value]]:
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.name:
            yield value.name, value


def _inner_nodes(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """Every node of a body or a function, and whose body it is."""
    for node in model.graph:
        for body in bodies(node):
            for inner in body.all_nodes():
                yield inner, describe_node(node)
    for function in model.functions.values():
        if function.domain == MARK_DOMAIN:
            continue
        for inner in function.all_nodes():
            yield inner, f"function '{function.domain}::{function.name}'"


def _points_of(node: ir.Node, by_name: bool) -> list[str]:
    """The points by which a cut could name the results of a node."""
    if is_mark(node):
        return [str(_marked_tensor(node))]
    return [value.name for value in node.outputs if value.name] if by_name else []


def _make_identity(node: ir.Node) -> None:
    """Turn a mark inside a body into a standard operator, which every engine knows."""
    if is_mark(node):
        node.domain, node.op_type = "", "Identity"
        node.attributes.clear()


def _marked_tensor(node: ir.Node) -> MarkedTensor:
    attributes = node.attributes
    side: Side = "input" if attributes["side"].as_string() == "input" else "output"
    call, path = attributes["call"].as_int(), attributes["path"].as_string()
    return MarkedTensor(attributes["mark"].as_string(), call, side, path)


def _bypass(node: ir.Node) -> ir.Value:
    """Replace a mark by the tensor that it marks, and return that."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None, "a mark has an input"
    source.type = source.type or result.type  # the exporter's rewrites may have lost them
    # decompositions may have given a size that depends on the data another name
    source.shape = result.shape or source.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    assert node.graph is not None, "a mark lies in a graph"
    node.graph.remove(node, safe=True)
    return source
