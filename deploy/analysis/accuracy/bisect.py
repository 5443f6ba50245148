"""Bisection of a segment: the first operator whose error is beyond the tolerance."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from backends.acceptance import Tolerance
from backends.contract import Artifact, ConversionError, Dynamic, Tensors
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import read_segment
from deploy.analysis.accuracy.operators import Nodes, Operators, members, read_operators
from deploy.analysis.accuracy.records import Bisection, Probe
from deploy.analysis.accuracy.segment_parts import SegmentPart, SegmentProbe
from deploy.analysis.accuracy.work import Work
from deploy.graph.exported import Exported
from deploy.partition.cut_points import PartitionError
from deploy.recipe.schema import BackendRecipe

_PATIENCE = 8


class SearchResult(NamedTuple):
    """Where an error comes from.

    Attributes:
        wrong: a node that gives something wrong.
        others: what it needs and could not be asked about; the error may be theirs.
    """

    wrong: int
    others: tuple[int, ...]


def narrow_down(
    last: int,
    before: Sequence[Nodes],
    tiers: Sequence[Collection[int]],
    is_good: Callable[[int, Nodes], bool | None],
) -> SearchResult:
    """The first node that gives something wrong, as it shows at ``last``.

    What a node gives is taken to be wrong if anything that it needs is, and right only if all of
    that is. Each question halves what is left, as far as the graph lets it.

    Args:
        last: a node that gives something wrong.
        before: for each node, those that it needs, and itself.
        tiers: the nodes that can be asked about; of a later tier only when an earlier has none.
        is_good: whether a node gives what is right, or None if that cannot be known. It also gets
            what is left.
    """
    wrong, left, patience = last, before[last], _PATIENCE
    open_nodes = [set(tier) - {last} for tier in tiers]
    while patience and (node := _next_node(left, before, open_nodes)) is not None:
        for tier in open_nodes:
            tier.discard(node)
        good = is_good(node, left)
        if good is None:
            patience -= 1
        elif good:
            left &= ~before[node]
        else:
            wrong, left = node, left & before[node]
    return SearchResult(wrong, tuple(node for node in members(left) if node != wrong))


def _next_node(
    left: Nodes, before: Sequence[Nodes], tiers: Sequence[Collection[int]]
) -> int | None:
    """The node that halves best what is left, of the first tier with any that divides it."""
    total = left.bit_count()
    for tier in tiers:
        sizes = {node: (left & before[node]).bit_count() for node in tier if left >> node & 1}
        dividing = {node: min(size, total - size) for node, size in sizes.items() if size < total}
        if dividing:
            return max(sorted(dividing), key=dividing.__getitem__)
    return None


Tell = Callable[[Probe, int], None]


def bisect(
    step: Artifact,
    own: Sequence[ErrorMetrics],
    work: Work,
    values: Tensors,
    engine: BackendRecipe,
    bound: Tolerance,
    timeout: float,
    tell: Tell,
) -> Bisection:
    """Convert the first halves of a segment until one operator is left.

    Args:
        step: the segment as it was converted.
        own: the gap of each of its outputs, fed with the reference's inputs.
        work: where its graphs are.
        values: the reference's value of each of its inputs and outputs.
        engine: what runs the segment in fp32.
        bound: what counts as agreement.
        timeout: seconds for one conversion.
        tell: called with each part that was tried, and the number of operators left before.

    Raises:
        ConversionError: the reference's engine cannot run the segment.
    """
    halves = _segment_probe(step, work, values, engine, timeout)
    operators = read_operators(halves.original)
    search = _Search(halves, operators, bound, tell)
    found = Bisection(
        step.name,
        str(halves.converted.onnx),
        engine.name,
        bound.max_rel,
        bound.cosine,
    )
    finding, last = _begin(search, own, values)
    if last is None:
        return replace(found, finding=finding, probes=tuple(search.probes))
    known = _tensor_names(halves.converted.onnx)
    left = narrow_down(last, operators.before, operators.tiers(last, known), search.is_good)
    found = replace(
        found,
        probes=tuple(search.probes),
        operator=operators.nodes[left.wrong],
        others=tuple(operators.nodes[number] for number in left.others),
    )
    return _alone(found, search, left, work.folder / "blame")


class _Search:
    """The parts that were tried."""

    def __init__(
        self, halves: SegmentProbe, operators: Operators, bound: Tolerance, tell: Tell
    ) -> None:
        self.halves, self.operators, self.bound = halves, operators, bound
        self.probes: list[Probe] = []
        self._tell = tell

    def is_good(self, number: int, left: Nodes) -> bool | None:
        """Whether the part up to this operator is within the bound; see ``narrow``."""
        probe = self.try_up_to(number)
        self.probes.append(probe)
        self._tell(probe, left.bit_count())
        return None if probe.gap is None else self.bound.admits(probe.gap)

    def try_up_to(self, number: int) -> Probe:
        """Everything up to this operator."""
        ends = self.operators.nodes[number].tensors
        part = SegmentPart(self.operators.starts[number], ends)
        with tempfile.TemporaryDirectory() as folder:
            return self.tried(number, part, Path(folder))[0]

    def tried(self, number: int, part: SegmentPart, folder: Path) -> tuple[Probe, str]:
        """A part, and the command that repeats it from ``folder``."""
        halves = self.halves
        values = halves.expected((*part.starts, *part.ends))
        ends = {name: values[name] for name in part.ends}
        probe, repeat = Probe(number, part.ends, None), ""
        try:
            segment = halves.cut(part, values, folder)
            repeat = halves.keep(segment, values, ends)
            gap, note = halves.gap(segment, values, ends)
        except (ConversionError, PartitionError) as error:
            return replace(probe, note=str(error)), repeat
        return replace(probe, gap=gap, note=note), repeat


def _begin(search: _Search, own: Sequence[ErrorMetrics], values: Tensors) -> tuple[str, int | None]:
    """An operator at the end that is wrong, or why there is none to begin with."""
    halves, bound = search.halves, search.bound
    names = [gap.tensor for gap in sorted(own, key=lambda gap: gap.max_rel, reverse=True)]
    expected = {name: values[name] for name in names}
    exported = worst(compare_all(expected, halves.expected(names)))
    if not bound.admits(exported):
        return (
            f"its graph in fp32 is off by max_rel {exported.max_rel:.1e} at '{exported.tensor}' "
            f"already, in {halves.engine.name}: look at the export, not at the conversion.",
            None,
        )
    for name in names:
        last = search.operators.maker(name)
        if last is not None and search.is_good(last, search.operators.before[last]) is False:
            return "", last
    if any(probe.gap is None for probe in search.probes):
        return f"it cannot be converted again: {search.probes[0].note}", None
    return "converted again, it is within its bound: nothing to narrow down.", None


def _alone(found: Bisection, search: _Search, left: SearchResult, folder: Path) -> Bisection:
    """With the operator converted alone, so that one that only inherits its error is told apart."""
    operators = search.operators
    inside = {name for number in left.others for name in operators.nodes[number].tensors}
    takes = [name for number in (left.wrong, *left.others) for name in operators.takes[number]]
    starts = tuple(dict.fromkeys(name for name in takes if name not in inside))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    part = SegmentPart(starts, operators.nodes[left.wrong].tensors)
    alone, repeat = search.tried(left.wrong, part, folder)
    kept = str(folder / f"{found.segment}.onnx") if repeat else ""
    return replace(found, alone=alone, kept=kept, repeat=repeat)


def _segment_probe(
    step: Artifact, work: Work, values: Tensors, engine: BackendRecipe, timeout: float
) -> SegmentProbe:
    ranges = {d.name: d for spec in step.inputs for d in spec.dims if isinstance(d, Dynamic)}
    original, converted = (
        Exported(path, read_segment(path, step.name, ranges).inputs, by_name=True)
        for path in (work.original(step.name), work.converted(step.name))
    )
    inputs = {spec.name: values[spec.name] for spec in step.inputs}
    return SegmentProbe(step, original, converted, inputs, engine, timeout)


def _tensor_names(path: Path) -> set[str]:
    return {name for node in read_without_weights(path).graph.node for name in node.output if name}
