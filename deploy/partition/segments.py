"""Exported -> segments: the whole model cut at its marks."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from backends.contract import Segment
from deploy.graph.exported import Exported
from deploy.graph.index import GraphIndex
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.writing import INLINE_BYTES, WeightsFile, write_model
from deploy.partition.cut_points import Cut, CutPoints, PartitionError, extract_cut_points
from deploy.partition.extract import extract_segment
from deploy.partition.segment_sizes import SegmentSizes
from deploy.partition.subgraphs import (
    Subgraph,
    check_no_host_steps,
    cut_across,
    cut_between,
    whole_subgraph,
)
from deploy.partition.tensor_names import NamedSubgraph, name_tensors

_WRITERS = 2  # files of weights that are written at once


CutsAcross = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Partition:
    """A model in segments.

    Attributes:
        segments: in the order of their cuts. Tensors of one name are the same tensor.
        points: for the name of each of their inputs and outputs, where ``reference()`` keeps
            PyTorch's own value of it.
        results: the names of those tensors that are outputs of the whole model.
        marks: for each of them, every mark that it is.
        places: wherever in the export there is a value to compare with.
    """

    segments: tuple[Segment, ...]
    points: Mapping[str, str]
    results: tuple[str, ...]
    marks: Mapping[str, tuple[str, ...]]
    places: tuple[str, ...]


def partition(
    exported: Exported,
    cuts: Sequence[Cut],
    out: Path,
    *,
    across: CutsAcross = (),
    inline_bytes: int = INLINE_BYTES,
) -> Partition:
    """Cut a model into segments; the parts that no segment covers are the host's.

    A segment's input is called as the graph's input or as an earlier segment's output, if it is
    one, so that a chain wires by name; otherwise as the last part of its point, or as the whole
    point where another tensor has that name.

    Args:
        exported: the whole model.
        cuts: the segments, each after those whose outputs it takes. None of them, and nothing
            to cut across: the whole model is one segment called ``model``.
        out: the folder that gets ``<segment>.onnx``.
        across: in the place of ``cuts``, the points of each border that cuts through the whole
            model; the segments ``part0``, ``part1`` and so on between them leave nothing out.
        inline_bytes: a segment with more weights keeps them in ``<segment>.onnx.data``.

    Raises:
        PartitionError: a cut names no place of this model, or does not give a segment that
            depends on its start alone; two segments share a node or a name; or one holds what is
            done on the host.
        DeployError: the file is no ONNX model, or its weights lie where they must not.
    """
    with _without_collection(), onnx_rule_errors(exported):
        return _partition(exported, cuts, across, out, inline_bytes)


@contextmanager
def _without_collection() -> Iterator[None]:
    """A graph is very many objects that live on; to search them for dead ones takes longest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _partition(
    exported: Exported, cuts: Sequence[Cut], across: CutsAcross, out: Path, inline_bytes: int
) -> Partition:
    model = load_graph(exported)
    parts, places = _parts(model, exported, cuts, across)
    check_no_host_steps(parts)
    wiring = name_tensors(parts, places)
    dynamic = {cut.name: cut.dynamic for cut in cuts}
    sizes = [SegmentSizes(exported, part, dynamic.get(part.part.name, {})) for part in wiring.parts]
    pairs = list(zip(wiring.parts, sizes, strict=True))
    segments = tuple(_segment(exported, out, *pair) for pair in pairs)
    files = [
        write_model(extract_segment(model, part, known.fixed), segment.onnx, inline_bytes)
        for segment, (part, known) in zip(segments, pairs, strict=True)
    ]
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(WeightsFile.write, filter(None, files)))
    used = {spec.name for segment in segments for spec in (*segment.inputs, *segment.outputs)}
    points = {name: key for name, key in wiring.keys.items() if name in used}
    marks = {name: places.marks_on(wiring.values[name]) for name in points}
    return Partition(segments, points, wiring.results, marks, _named(exported, places))


def _named(exported: Exported, places: CutPoints) -> tuple[str, ...]:
    """Inputs, outputs and marks, also those that the exporter dropped; of a file every tensor."""
    marks = map(str, (*places.marks, *exported.marks))
    return tuple(dict.fromkeys((*places.inputs, *places.outputs, *places.tensors, *marks)))


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
    model = load_graph(exported)
    places = extract_cut_points(model, exported.marks, by_name=True)
    anatomy = GraphIndex(model, same_names_same_sizes=False)
    part = whole_subgraph(anatomy, places, [name for name in tensors if name not in places.inputs])
    (wired,) = name_tensors([replace(part, name="reference")], places).parts
    segment = _segment(exported, out, wired, SegmentSizes(exported, wired, {}))
    weights = write_model(extract_segment(model, wired, {}), segment.onnx, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return segment


def _parts(
    model: ir.Model, exported: Exported, cuts: Sequence[Cut], across: CutsAcross
) -> tuple[list[Subgraph], CutPoints]:
    places = extract_cut_points(model, exported.marks, by_name=exported.by_name)
    anatomy = GraphIndex(model, same_names_same_sizes=not exported.by_name)
    if across:
        return cut_across(anatomy, places, across), places
    parts = cut_between(anatomy, places, cuts) if cuts else [whole_subgraph(anatomy, places)]
    return parts, places


def _segment(exported: Exported, out: Path, wired: NamedSubgraph, sizes: SegmentSizes) -> Segment:
    name = wired.part.name
    path = out / f"{name}.onnx"
    if path.resolve() == exported.onnx.resolve():
        raise PartitionError(
            f"segment '{name}' would overwrite {exported.onnx}", do="Choose another folder."
        )
    return Segment(name, path, sizes.specs(wired.inputs), sizes.specs(wired.outputs))
