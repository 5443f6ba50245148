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
from deploy.cutting.anatomy import Anatomy
from deploy.cutting.copying import WeightsFile
from deploy.cutting.cover import cover
from deploy.cutting.cuts import Cut, PartitionError, Places
from deploy.cutting.faults import faults_of_a_file
from deploy.cutting.loading import load_graph
from deploy.cutting.parts import Part, check_engines_alone, explicit, whole_model
from deploy.cutting.places import take_out_marks
from deploy.cutting.segments import INLINE_BYTES, build, write
from deploy.cutting.sizes import Sizes
from deploy.cutting.wiring import Wired, wire
from deploy.exported import Exported

__all__ = ["Cut", "Cutting", "PartitionError", "partition", "probe"]

_WRITERS = 2  # files of weights that are written at once

Cover = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Cutting:
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
    across: Cover = (),
    inline_bytes: int = INLINE_BYTES,
) -> Cutting:
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
    with _without_collection(), faults_of_a_file(exported):
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
    exported: Exported, cuts: Sequence[Cut], across: Cover, out: Path, inline_bytes: int
) -> Cutting:
    model = load_graph(exported)
    parts, places = _parts(model, exported, cuts, across)
    check_engines_alone(parts)
    wiring = wire(parts, places)
    dynamic = {cut.name: cut.dynamic for cut in cuts}
    sizes = [Sizes(exported, part, dynamic.get(part.part.name, {})) for part in wiring.parts]
    pairs = list(zip(wiring.parts, sizes, strict=True))
    segments = tuple(_segment(exported, out, *pair) for pair in pairs)
    files = [
        write(build(model, part, known.fixed), segment.onnx, inline_bytes)
        for segment, (part, known) in zip(segments, pairs, strict=True)
    ]
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(WeightsFile.write, filter(None, files)))
    used = {spec.name for segment in segments for spec in (*segment.inputs, *segment.outputs)}
    points = {name: key for name, key in wiring.keys.items() if name in used}
    marks = {name: places.marks_on(wiring.values[name]) for name in points}
    return Cutting(segments, points, wiring.results, marks, _named(exported, places))


def _named(exported: Exported, places: Places) -> tuple[str, ...]:
    """Inputs, outputs and marks, also those that the exporter dropped; of a file every tensor."""
    marks = map(str, (*places.marks, *exported.marks))
    return tuple(dict.fromkeys((*places.inputs, *places.outputs, *places.tensors, *marks)))


def probe(exported: Exported, tensors: Sequence[str], out: Path) -> Segment:
    """The whole model as one segment ``reference`` that gives any of its tensors.

    Args:
        exported: the model, cut by name.
        tensors: their names in the graph. Inputs of the graph are left out.
        out: the folder that gets ``reference.onnx``.
    """
    with faults_of_a_file(exported):
        return _probe(exported, tensors, out)


def _probe(exported: Exported, tensors: Sequence[str], out: Path) -> Segment:
    model = load_graph(exported)
    places = take_out_marks(model, exported.marks, by_name=True)
    anatomy = Anatomy(model, same_names_same_sizes=False)
    part = whole_model(anatomy, places, [name for name in tensors if name not in places.inputs])
    (wired,) = wire([replace(part, name="reference")], places).parts
    segment = _segment(exported, out, wired, Sizes(exported, wired, {}))
    weights = write(build(model, wired, {}), segment.onnx, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return segment


def _parts(
    model: ir.Model, exported: Exported, cuts: Sequence[Cut], across: Cover
) -> tuple[list[Part], Places]:
    places = take_out_marks(model, exported.marks, by_name=exported.by_name)
    anatomy = Anatomy(model, same_names_same_sizes=not exported.by_name)
    if across:
        return cover(anatomy, places, across), places
    parts = explicit(anatomy, places, cuts) if cuts else [whole_model(anatomy, places)]
    return parts, places


def _segment(exported: Exported, out: Path, wired: Wired, sizes: Sizes) -> Segment:
    name = wired.part.name
    path = out / f"{name}.onnx"
    if path.resolve() == exported.onnx.resolve():
        raise PartitionError(
            f"segment '{name}' would overwrite {exported.onnx}", do="Choose another folder."
        )
    return Segment(name, path, sizes.specs(wired.inputs), sizes.specs(wired.outputs))
