"""Cuts -> the subgraphs of a model, before their tensors have names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from deploy.graph.index import GraphIndex, is_weight
from deploy.graph.nodes import describe_node, host_steps_in
from deploy.partition.backward_slice import (
    BackwardSlice,
    Subgraph,
    bypassing_uses,
    describe_origin,
    describe_uses,
    varying_tensors,
)
from deploy.partition.cut_points import BoundaryTensor, Cut, CutPoints, PartitionError

_MOST_RECOMPUTED = 64  # nodes of masks and positions in a part


def whole_subgraph(
    index: GraphIndex, cut_points: CutPoints, name: str = "model", tensors: Sequence[str] = ()
) -> Subgraph:
    """The model as one subgraph, with all its inputs; it gives its outputs, or ``tensors``."""
    inputs = [BoundaryTensor(key, key, value) for key, value in cut_points.inputs.items()]
    marks = {str(marked): value for marked, value in cut_points.marks.items()}
    values = {**cut_points.tensors, **marks, **cut_points.outputs}
    ends = [
        BoundaryTensor(key, key, values[key])
        for key in tensors or cut_points.outputs
        if cut_points.inputs.get(key) is not values[key]
    ]
    if not ends:
        raise PartitionError("the model computes nothing: its outputs are its inputs")
    starts = {tensor.value: tensor for tensor in inputs}
    return BackwardSlice(index, starts, ends).subgraph(name, inputs)


def cut_between(index: GraphIndex, cut_points: CutPoints, cuts: Sequence[Cut]) -> list[Subgraph]:
    """The subgraph between the starts and the ends of each cut.

    Raises:
        PartitionError: a cut gives no subgraph that depends on its start alone, two have one
            name, or two share a node.
    """
    _check_names([cut.name for cut in cuts])
    subgraphs: list[Subgraph] = []
    for cut in cuts:
        subgraph = _subgraph_between(index, cut_points, cut)
        owned = {node for before in subgraphs for node in before.nodes}
        subgraphs.append(_with_recomputed(index, cut_points, subgraph, owned))
    _check_disjoint(subgraphs)
    return subgraphs


def cut_regions(index: GraphIndex, cut_points: CutPoints, cuts: Sequence[Cut]) -> list[Subgraph]:
    """The subgraph of each region of a graph that a planner has divided completely.

    A region keeps starts that none of its nodes reads: inputs of the graph that nothing needs.

    Raises:
        PartitionError: a region needs more than its starts, or two share a node.
    """
    subgraphs = []
    for cut in cuts:
        starts = [t for of_point in cut_points.start_tensors(cut).values() for t in of_point]
        by_value = {start.value: start for start in starts}
        ends = cut_points.end_tensors(cut)
        backward_slice = BackwardSlice(index, by_value, ends)
        _check_not_bypassed(index, cut, by_value, backward_slice)
        subgraphs.append(backward_slice.subgraph(cut.name, starts, cut.outputs))
    _check_disjoint(subgraphs)
    return subgraphs


def check_no_host_steps(subgraphs: Sequence[Subgraph]) -> None:
    """Refuse placeholders of host steps, which no engine can run.

    Raises:
        PartitionError: naming the segment, and the host steps that lie in it.
    """
    for subgraph in subgraphs:
        steps = list(dict.fromkeys(host_steps_in(subgraph.nodes)))
        if steps:
            raise PartitionError(
                f"segment '{subgraph.name}'",
                expected="operators that an engine can run",
                got=f"host steps: {', '.join(steps)}",
                do="Cut before and behind them, and let steps of partition.host compute what is "
                "between; the model's own partition does so.",
            )


def _subgraph_between(index: GraphIndex, cut_points: CutPoints, cut: Cut) -> Subgraph:
    tensors, ends = cut_points.start_tensors(cut), cut_points.end_tensors(cut)
    if cut.outputs is not None and len(cut.outputs) != len(ends):
        raise PartitionError(
            f"outputs of segment '{cut.name}'",
            expected=f"{len(ends)} names for {', '.join(end.point for end in ends)}",
            got=f"{len(cut.outputs)}: {', '.join(cut.outputs)}",
        )
    starts = {
        tensor.value: tensor
        for of_point in tensors.values()
        for tensor in of_point
        if not index.is_constant(tensor.value)  # the segment gets its own copy of constants
    }
    _check_not_empty(cut, starts, ends)
    backward_slice = BackwardSlice(index, starts, ends)
    _check_ends_depend(index, cut, ends, backward_slice.dependents())
    _check_not_bypassed(index, cut, starts, backward_slice)
    _check_starts_used(cut, tensors, set(backward_slice.values))
    names = cut.outputs if cut.outputs is not None else [end.default_name for end in ends]
    subgraph = backward_slice.subgraph(cut.name, backward_slice.used_starts(), names)
    _check_starts_outside(subgraph)
    return subgraph


def _check_not_empty(
    cut: Cut, starts: Mapping[ir.Value, BoundaryTensor], ends: Sequence[BoundaryTensor]
) -> None:
    for end in ends:
        if end.value in starts:
            raise PartitionError(
                f"segment '{cut.name}' is empty: its end {end.point} is its start "
                f"{starts[end.value].point}",
                do="Leave one of them out, or move it to where another tensor is.",
            )


def _check_ends_depend(
    index: GraphIndex, cut: Cut, ends: Sequence[BoundaryTensor], dependents: Collection[ir.Node]
) -> None:
    for end in ends:
        producer = end.value.producer()
        constant = index.is_constant(end.value)
        random = producer in index.input_independent and not constant
        constant_output = constant and end.value.is_graph_output()
        if producer not in dependents and not random and not constant_output:
            raise PartitionError(
                f"the end {end.point} of segment '{cut.name}' depends on no start",
                expected=f"a tensor that depends on {', '.join(cut.start)}",
                got=describe_origin(end.value),
                do=_without_constants(index, cut, ends) if constant else "",
            )


def _without_constants(index: GraphIndex, cut: Cut, ends: Sequence[BoundaryTensor]) -> str:
    others = [end.point for end in ends if not index.is_constant(end.value)]
    if not others:
        return "Each segment gets its own copy of constants: end it elsewhere."
    return (
        f"Each segment gets its own copy of constants: write end: [{', '.join(others)}] for "
        f"'{cut.name}'."
    )


def _check_not_bypassed(
    index: GraphIndex,
    cut: Cut,
    starts: Mapping[ir.Value, BoundaryTensor],
    backward_slice: BackwardSlice,
) -> None:
    if not any(v.is_graph_input() and v not in starts for v in backward_slice.values):
        return  # every path from the graph's inputs leads through a start
    raise PartitionError(
        f"a tensor bypasses the start of segment '{cut.name}'",
        expected=f"only {', '.join(start.point for start in starts.values())}",
        got=f"also {describe_uses(bypassing_uses(index, starts, backward_slice))}",
        do="Mark it too and add it to the start, or start earlier.",
    )


def _check_starts_used(
    cut: Cut, starts: Mapping[str, Sequence[BoundaryTensor]], used: Collection[ir.Value]
) -> None:
    for point, tensors in starts.items():
        if not any(tensor.value in used for tensor in tensors):
            raise PartitionError(
                f"no end depends on the start {point} of segment '{cut.name}'",
                expected=f"a tensor that {', '.join(cut.end)} depend on",
                do="Leave it out, or start elsewhere.",
            )


def _check_starts_outside(subgraph: Subgraph) -> None:
    nodes = set(subgraph.nodes)
    for start in subgraph.starts:
        producer = start.value.producer()
        if producer in nodes and producer is not None:
            raise PartitionError(
                f"the start {start.point} of segment '{subgraph.name}' is computed inside it",
                got=f"{describe_node(producer)}, which another tensor needs",
                do="Mark all results of that operation, and start from them.",
            )


def _check_names(names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            raise PartitionError(
                "name of a segment", expected="letters, digits and any of _ . -", got=repr(name)
            )
        if names.count(name) > 1:
            raise PartitionError(f"two segments are called '{name}'")


def _with_recomputed(
    index: GraphIndex, cut_points: CutPoints, subgraph: Subgraph, owned: Collection[ir.Node]
) -> Subgraph:
    """Let a segment compute masks and positions again that an earlier one computes too.

    In a file whose tensors can all be named, they are named instead.
    """
    repeated = {node for node in subgraph.nodes if node in owned and node not in subgraph.shared}
    few = len(repeated) <= _MOST_RECOMPUTED
    if cut_points.tensors or not few or not repeated <= index.inexpensive:
        return subgraph
    return replace(subgraph, shared=subgraph.shared | repeated)


def _check_disjoint(subgraphs: Sequence[Subgraph]) -> None:
    owner: dict[ir.Node, str] = {}
    for subgraph in subgraphs:
        name = subgraph.name
        for node in subgraph.nodes:
            if node not in subgraph.shared and owner.setdefault(node, name) != name:
                raise PartitionError(
                    f"{describe_node(node)} is in two segments: '{owner[node]}' and '{name}'",
                    do=f"Start '{name}' where '{owner[node]}' ends, or end that earlier.",
                )


def cut_across(
    index: GraphIndex, cut_points: CutPoints, cuts: Sequence[Sequence[str]]
) -> list[Subgraph]:
    """Cut the whole model at each list of points, in the order of the data flow.

    Every part may take the graph's inputs and what earlier cuts name, and nothing else. An output
    of the graph is given by the first part that computes it.

    Args:
        index: of the graph.
        cut_points: where it can be cut.
        cuts: the points of each cut, such as ``[["features"], ["logits", "boxes"]]``.

    Raises:
        PartitionError: a name is no point, or depends on no input; a cut lies before an earlier
            one; or a tensor bypasses one.
    """
    parts = _Parts(index, cut_points)
    for number, points in enumerate(cuts):
        tensors = cut_points.tensors_across(points, lambda marked: varying_tensors(index, marked))
        parts.add(tensors, f"the cut at [{', '.join(points)}]", first=not number)
    parts.add_rest()
    return parts.subgraphs()


@dataclass
class _Parts:
    """The parts so far, between cuts across the whole model.

    Attributes:
        available: the tensors that the next part may take.
        slices: of each part, as a subgraph with the ends of its cut.
        ends: of each part, with outputs of the graph that it computes besides.
        owner: the number of the part that holds a node.
        cuts: the cut at the end of each part, for messages.
    """

    index: GraphIndex
    cut_points: CutPoints
    available: dict[ir.Value, BoundaryTensor] = field(default_factory=dict)
    slices: list[Subgraph] = field(default_factory=list)
    ends: list[list[BoundaryTensor]] = field(default_factory=list)
    owner: dict[ir.Node, int] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        inputs = self.cut_points.inputs.items()
        self.available = {value: BoundaryTensor(name, name, value) for name, value in inputs}

    def add(self, tensors: list[BoundaryTensor], cut: str, *, first: bool) -> None:
        """Add the part before a cut; the first one also gives outputs that need no operation."""
        ends = [tensor for tensor in tensors if tensor.value not in self.available]
        if not ends:
            raise PartitionError(
                f"{cut} leaves a part empty: earlier cuts name its tensors, or it is where the "
                "model starts",
                do="Leave it out.",
            )
        for end in ends:
            self._check_end(end, cut, tensors)
        self._add([*ends, *(self._independent_outputs() if first else [])])
        self.cuts.append(cut)

    def add_rest(self) -> None:
        """Add the graph's outputs: to the parts that compute them, and the rest as a last part."""
        given = {end.value for ends in self.ends for end in ends}
        rest = []
        for name, value in self.cut_points.outputs.items():
            tensor = BoundaryTensor(name, name, value)
            producer = value.producer()
            if producer in self.owner and producer is not None and value not in given:
                self.ends[self.owner[producer]].append(tensor)
            elif value not in given and self.cut_points.inputs.get(name) is not value:
                rest.append(tensor)
        if rest:
            self._add(rest)

    def subgraphs(self) -> list[Subgraph]:
        """The parts in order, with all their ends."""
        pairs = zip(self.slices, self.ends, strict=True)
        return [replace(subgraph, ends=tuple(ends)) for subgraph, ends in pairs]

    def _add(self, ends: list[BoundaryTensor]) -> None:
        number = len(self.slices)
        backward_slice = BackwardSlice(self.index, self.available, ends)
        starts = [*backward_slice.used_starts(), *([] if number else self._unused_results())]
        subgraph = backward_slice.subgraph(f"part{number}", starts)
        subgraph = _with_recomputed(self.index, self.cut_points, subgraph, self.owner)
        self._check_not_bypassed(backward_slice, subgraph)
        self.owner |= {node: number for node in subgraph.nodes if node not in subgraph.shared}
        self.slices.append(subgraph)
        self.ends.append(ends)
        self.available |= {  # every part has its own copy of a constant that the graph gives
            end.value: end
            for end in ends
            if end.value not in self.available and not self.index.is_constant(end.value)
        }

    def _independent_outputs(self) -> list[BoundaryTensor]:
        """The graph's outputs that are inputs under another name, or depend on none."""
        return [
            BoundaryTensor(name, name, value)
            for name, value in self.cut_points.outputs.items()
            if self.cut_points.inputs.get(name) is not value and self._is_independent(value)
        ]

    def _unused_results(self) -> list[BoundaryTensor]:
        """The graph's inputs that are outputs too and that no node takes: a part must have them."""
        return [
            BoundaryTensor(name, name, value)
            for name, value in self.cut_points.inputs.items()
            if self.cut_points.outputs.get(name) is value and not value.uses()
        ]

    def _is_independent(self, value: ir.Value) -> bool:
        return (
            value.is_graph_input()
            or is_weight(value)
            or value.producer() in self.index.input_independent
        )

    def _check_end(self, end: BoundaryTensor, cut: str, tensors: Sequence[BoundaryTensor]) -> None:
        if self.index.is_constant(end.value):
            others = [t.point for t in tensors if not self.index.is_constant(t.value)]
            raise PartitionError(
                f"{cut}: {end.point} is the same in every run",
                got=describe_origin(end.value),
                do=f"Every part gets its own copy of constants: write [{', '.join(others)}]."
                if others
                else "Every part gets its own copy of constants: cut at a tensor that depends on "
                "an input.",
            )
        producer = end.value.producer()
        if producer in self.owner:
            raise PartitionError(
                f"{cut}: {end.point} is computed before an earlier cut already",
                got=describe_origin(end.value),
                do="List the cuts in the order of the data flow.",
            )

    def _check_not_bypassed(self, backward_slice: BackwardSlice, subgraph: Subgraph) -> None:
        repeated = {n for n in subgraph.nodes if n in self.owner and n not in subgraph.shared}
        if not repeated:
            return
        bypassing = {
            use.value: use
            for use in backward_slice.uses()
            if use.value not in self.available
            and use.value.producer() in repeated
            and use.user not in repeated
        }
        bypassed = {v: self.owner[node] for v in bypassing if (node := v.producer())}
        first = min(bypassed.values())
        uses = [bypassing[value] for value, number in bypassed.items() if number == first]
        how = "Add" if self.cut_points.tensors else "Mark them too, and add"
        raise PartitionError(
            f"tensors bypass {self.cuts[first]}: they are computed before it and used behind it",
            expected="only tensors that the cuts name",
            got=f"also {describe_uses(uses)}",
            do=f"{how} them to the cut: cuts: "
            f"[[..., {', '.join(str(use.value.name) for use in uses)}]].",
        )
