"""Exported graph -> segments: the whole model cut at its cut points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from backends.contract import Segment
from backends.process.garbage import no_garbage_collection
from deploy.graph.exported import Exported
from deploy.graph.index import GraphIndex
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.writing import INLINE_BYTES, WeightsFile, write_model
from deploy.partition.backward_slice import Subgraph
from deploy.partition.cut_points import Cut, CutPoints, PartitionError, extract_cut_points
from deploy.partition.extract import SegmentSizes, extract_segment
from deploy.partition.subgraphs import (
    check_no_host_steps,
    cut_across,
    cut_between,
    cut_regions,
    whole_subgraph,
)
from deploy.partition.tensor_names import NamedSubgraph, NamedTensor, name_tensors
from deploy.recipe.dynamic_shapes import parse_range
from deploy.recipe.schema import Recipe, SegmentRecipe
from deploy.recipe.validate import check_segments

_WRITERS = 2  # files of weights that are written at once

CutsAcross = Sequence[Sequence[str]]
"""The points of each cut through the whole model."""


@dataclass(frozen=True)
class Partition:
    """A model in segments.

    Attributes:
        segments: in the order of their cuts. Tensors of one name are the same tensor.
        points: for the name of each of their inputs and outputs, where ``reference_values`` keeps
            PyTorch's own value of it.
        results: the names of those tensors that are outputs of the whole model, in its order.
        marks: for each of them, every mark that it is.
        outputs: the name in the chain of each output of the graph that the chain has.
        reference_points: every point at which the whole model has a value to compare with.
    """

    segments: tuple[Segment, ...]
    points: Mapping[str, str]
    results: tuple[str, ...]
    marks: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, str]
    reference_points: tuple[str, ...]


def partition_recipe(recipe: Recipe, exported: Exported, out: Path) -> Partition:
    """Cut a model as the recipe's partition says.

    Raises:
        RecipeError: a backend is chosen for a segment that does not exist, or a host step calls
            one.
        PartitionError: see ``partition``.
    """
    cuts = [_as_cut(segment) for segment in recipe.partition.segments]
    partitioned = partition(exported, cuts, out, across=recipe.partition.across)
    # the segments that cuts across the model give are known only now
    check_segments(recipe, [segment.name for segment in partitioned.segments])
    return partitioned


def _as_cut(segment: SegmentRecipe) -> Cut:
    dynamic = {
        tensor: {
            axis: parse_range(f"dynamic.{tensor}.{axis} of segment '{segment.name}'", "", sizes, 0)
            for axis, sizes in axes.items()
        }
        for tensor, axes in segment.dynamic.items()
    }
    return Cut(segment.name, segment.start, segment.end, segment.outputs, dynamic)


def partition(
    exported: Exported,
    cuts: Sequence[Cut],
    out: Path,
    *,
    across: CutsAcross = (),
    inline_bytes: int = INLINE_BYTES,
    complete: bool = False,
) -> Partition:
    """Cut a model into segments; what no segment covers is left to the host.

    A chain connects segments by names. A segment's input has the name of the graph's input or of
    the earlier segment's output that it is; otherwise that of the last part of its point, or the
    whole point where another tensor has that name.

    Args:
        exported: the whole model.
        cuts: the segments, each after those whose outputs it takes. Without ``cuts`` and
            ``across`` the whole model is one segment called ``model``.
        out: the folder that gets ``<segment>.onnx``.
        across: instead of ``cuts``, the points of each cut through the whole model; the segments
            ``part0``, ``part1`` and so on between them leave nothing out.
        inline_bytes: a segment with more weights keeps them in ``<segment>.onnx.data``.
        complete: whether the cuts are the regions of a plan, which leave nothing out.

    Raises:
        PartitionError: a cut names no point of this model, or does not give a segment that
            depends on its start alone; two segments share a node or a name; or one holds a host
            step.
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    with no_garbage_collection(), onnx_rule_errors(exported):
        return _partition(exported, cuts, across, out, inline_bytes, complete)


def _partition(
    exported: Exported,
    cuts: Sequence[Cut],
    across: CutsAcross,
    out: Path,
    inline_bytes: int,
    complete: bool,
) -> Partition:
    model = load_graph(exported, fold=True)
    cut_points = extract_cut_points(model, exported.marks, by_name=exported.by_name)
    subgraphs = _subgraphs(model, exported, cut_points, cuts, across, complete)
    check_no_host_steps(subgraphs)
    chain = name_tensors(subgraphs, cut_points)
    dynamic = {cut.name: cut.dynamic for cut in cuts}
    sizes = [
        SegmentSizes(exported, named, dynamic.get(named.subgraph.name, {}))
        for named in chain.subgraphs
    ]
    pairs = list(zip(chain.subgraphs, sizes, strict=True))
    segments = tuple(_segment(exported, out, *pair) for pair in pairs)
    files = [
        write_model(extract_segment(model, named, known.fixed), segment.onnx, inline_bytes)
        for segment, (named, known) in zip(segments, pairs, strict=True)
    ]
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(WeightsFile.write, filter(None, files)))
    used = {spec.name for segment in segments for spec in (*segment.inputs, *segment.outputs)}
    points = {name: point for name, point in chain.points.items() if name in used}
    marks = {name: cut_points.marks_on(chain.values[name]) for name in points}
    names = {chain.values[name]: name for name in points}
    return Partition(
        segments,
        points,
        chain.results,
        marks,
        {output: names[v] for output, v in cut_points.outputs.items() if v in names},
        _all_points(exported, cut_points),
    )


def _subgraphs(
    model: ir.Model,
    exported: Exported,
    cut_points: CutPoints,
    cuts: Sequence[Cut],
    across: CutsAcross,
    complete: bool,
) -> list[Subgraph]:
    index = GraphIndex(model, same_names_same_sizes=not exported.by_name)
    if complete:
        return cut_regions(index, cut_points, cuts)
    if across:
        return cut_across(index, cut_points, across)
    return cut_between(index, cut_points, cuts) if cuts else [whole_subgraph(index, cut_points)]


def _all_points(exported: Exported, cut_points: CutPoints) -> tuple[str, ...]:
    """Inputs, outputs and marks, also those that the exporter dropped; of a file every tensor."""
    tensors = (*cut_points.inputs, *cut_points.outputs, *cut_points.tensors)
    marks = map(str, (*cut_points.marks, *exported.marks))
    return tuple(dict.fromkeys((*tensors, *marks)))


def _segment(exported: Exported, out: Path, named: NamedSubgraph, sizes: SegmentSizes) -> Segment:
    name = named.subgraph.name
    path = out / f"{name}.onnx"
    if path.resolve() == exported.onnx.resolve():
        raise PartitionError(
            f"segment '{name}' would overwrite {exported.onnx}", do="Choose another folder."
        )
    return Segment(name, path, sizes.specs(named.inputs), sizes.specs(named.outputs))


def reference_segment(exported: Exported, tensors: Sequence[str], out: Path) -> Segment:
    """The whole model as one segment ``reference`` that gives any of its tensors.

    Args:
        exported: the model, cut by name.
        tensors: their names in the graph. Inputs of the graph are left out.
        out: the folder that gets ``reference.onnx``.
    """
    with onnx_rule_errors(exported):
        return _reference_segment(exported, tensors, out)


def _reference_segment(exported: Exported, tensors: Sequence[str], out: Path) -> Segment:
    model = _load_as_it_is(exported)
    cut_points = extract_cut_points(model, exported.marks, by_name=True)
    index = GraphIndex(model, same_names_same_sizes=False)
    names = [name for name in tensors if name not in cut_points.inputs]
    subgraph = whole_subgraph(index, cut_points, "reference", names)
    (named,) = name_tensors([subgraph], cut_points).subgraphs
    segment = _segment(exported, out, named, SegmentSizes(exported, named, {}))
    for node in model.graph:  # what was inferred may be wrong, and the engine infers it itself
        for value in node.outputs:
            value.shape = None
    _write(segment, model, named)
    return segment


def _load_as_it_is(exported: Exported) -> ir.Model:
    """The graph without folding, to find out what folding did wrong."""
    model = load_graph(exported)
    if any(node.op_type == "If" for node in model.graph):
        # some engines load no file that has a branch which its sizes rule out
        return load_graph(exported, fold=True)
    return model


def file_segment(
    exported: Exported, name: str, names: Mapping[str, str], out: Path, *, fold: bool
) -> Segment:
    """A whole file as one segment.

    Args:
        exported: the file.
        name: of the segment.
        names: the name in the chain of each input and output of the file.
        out: the folder that gets ``<name>.onnx``.
        fold: whether what is the same in every run becomes a constant; see ``load_graph``.
    """
    with onnx_rule_errors(exported):
        model = load_graph(exported, fold=True) if fold else _load_as_it_is(exported)
        cut_points = extract_cut_points(model, exported.marks, by_name=True)
        index = GraphIndex(model, same_names_same_sizes=False)
        subgraph = whole_subgraph(index, cut_points, name)
        named = NamedSubgraph(
            subgraph,
            tuple(NamedTensor(names[start.point], start.value) for start in subgraph.starts),
            tuple(NamedTensor(names[end.point], end.value) for end in subgraph.ends),
        )
        return _write_segment(exported, model, named, out)


def _write_segment(exported: Exported, model: ir.Model, named: NamedSubgraph, out: Path) -> Segment:
    segment = _segment(exported, out, named, SegmentSizes(exported, named, {}))
    _write(segment, model, named)
    return segment


def _write(segment: Segment, model: ir.Model, named: NamedSubgraph) -> None:
    weights = write_model(extract_segment(model, named, {}), segment.onnx, INLINE_BYTES)
    if weights is not None:
        weights.write()
