"""A segment in half precision: the graph itself says what computes in which type."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript import version_converter

from backends.contract import Segment, Specs, Tensors
from backends.onnx.model_file import read_without_weights
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.graph.nodes import bodies
from deploy.graph.writing import INLINE_BYTES, MIN_IR_VERSION, write_model
from deploy.precision.definitions import (
    BF16,
    HALVES,
    CastRequest,
    CastResult,
    HalfType,
    KeptNode,
    PrecisionError,
    is_float,
    node_label,
)
from deploy.precision.insert_casts import retype
from deploy.precision.node_selection import (
    NodeSelection,
    pixel_coordinates,
    select_nodes,
    without_moves,
)
from deploy.precision.value_ranges import (
    peak_magnitudes,
    range_problem,
    values_to_calibrate,
    within_range,
)
from deploy.recipe.schema import BackendRecipe

_BFLOAT = 22  # the first version in which Conv, pooling and normalisation may be bfloat16


_MEASURED = 9  # the first with Where, by which magnitudes are found


_CONVERTED = 18  # from here on onnxscript converts; below, onnx does, which mistakes old bodies


_IR_VERSION = 10


def raise_opset(model: ir.Model, half: HalfType, folder: Path) -> None:
    """Raise the opset of an older model, where that can be done.

    Names, types and shapes stay. A model with functions stays as it is, and so do old ones with
    bodies or with what has no converter; what has no half there stays in fp32 for that reason.

    Args:
        model: the model, changed in place.
        half: the type.
        folder: where its weights lie.
    """
    needed = _BFLOAT if half is BF16 else _MEASURED
    opset = model.opset_imports.get("", needed)
    if opset >= needed or model.functions or (opset < _CONVERTED and _has_bodies(model.graph)):
        return
    with ExitStack() as stack:  # silent, since what it could not do shows in what stays in fp32
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        version_converter.convert_version(model, needed, fallback=True)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    ir.external_data.set_base_dir(model.graph, folder)


def _has_bodies(graph: ir.Graph) -> bool:
    return any(True for node in graph for _ in bodies(node))


_OPSET = 22


def requests_per_segment(asked: CastRequest, segments: Sequence[Segment]) -> dict[str, CastRequest]:
    """What of a request for several segments is for each of them, by the segment's name.

    A name that none of them has stays with all, so that it is refused.
    """
    nodes = {segment.name: read_without_weights(segment.onnx).graph.node for segment in segments}
    ops = {name: {node.op_type for node in found} for name, found in nodes.items()}
    labels = {
        name: {node.name or next(iter(node.output), "") for node in found}
        for name, found in nodes.items()
    }
    return {
        segment.name: replace(
            asked,
            keep_ops=_own(asked.keep_ops, ops, segment.name),
            keep_nodes=_own(asked.keep_nodes, labels, segment.name),
        )
        for segment in segments
    }


def cast_segment(
    segment: Segment, asked: CastRequest, sample: Tensors, engine: BackendRecipe, out: Path
) -> CastResult:
    """Write a segment in which all nodes compute in half precision that can.

    A node stays in fp32 where that is asked, where ONNX has no half for it, where it computes
    with sizes and weights alone or with regions in pixels, and where a number does not fit:
    overflow is found by running the segment on the sample.

    Args:
        segment: the segment in fp32; its file stays as it is.
        asked: the type, and what is to stay in fp32.
        sample: the reference's value of each of its inputs.
        engine: what runs it in fp32.
        out: the folder that gets ``<segment>.onnx``, and its large weights beside it.

    Raises:
        PrecisionError: ``asked`` names what the segment does not have; inputs and outputs in
            bfloat16, which NumPy has not; ``out`` is the segment's own folder.
        DeployError: the file is no ONNX model, or its weights lie where they must not.
        ConversionError: the engine cannot run the segment.
    """
    half, path = HALVES[asked.precision], out / f"{segment.name}.onnx"
    _check(segment, asked, path)
    out.mkdir(parents=True, exist_ok=True)
    model = _loaded(segment, half)
    choice = select_nodes(model, half, asked)
    ends = _ends(model.graph) if asked.io else []
    found = peak_magnitudes(
        model, [*values_to_calibrate(choice), *ends], segment, sample, engine, out
    )
    choice = without_moves(within_range(choice, found, half), model.graph, asked.io)
    kept = _kept(model.graph, choice)
    fitting = [end for end in ends if not range_problem(found[str(end.name)], "", half)]
    retype(model.graph, choice.half, half, fitting)
    weights = write_model(model, path, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return CastResult(_described(segment, path, model.graph), kept, len(choice.half))


def _own(names: Sequence[str], known: Mapping[str, set[str]], segment: str) -> tuple[str, ...]:
    anywhere = set().union(*known.values())
    return tuple(name for name in names if name in known[segment] or name not in anywhere)


def _check(segment: Segment, asked: CastRequest, path: Path) -> None:
    if asked.io and asked.precision == "bf16":
        raise PrecisionError(
            f"inputs and outputs of segment '{segment.name}'",
            expected="float16 or float32",
            got="bfloat16, which NumPy does not have",
            do="Leave the cast's io at false; the segment still computes in bf16.",
        )
    if path.resolve() == segment.onnx.resolve():
        raise PrecisionError(
            f"segment '{segment.name}' would overwrite {segment.onnx}", do="Choose another folder."
        )


def _loaded(segment: Segment, half: HalfType) -> ir.Model:
    """The graph with a type for every value, constants as weights, in a version that has half."""
    model = load_graph(Exported(segment.onnx, segment.inputs, by_name=True))
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    model.opset_imports.setdefault("", _OPSET)  # of a file with operators of other domains alone
    raise_opset(model, half, segment.onnx.resolve().parent)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return model


def _ends(graph: ir.Graph) -> list[ir.Value]:
    """The inputs and outputs that may be half."""
    exact = pixel_coordinates(graph)
    ends = (*graph.inputs, *graph.outputs)
    return [value for value in ends if is_float(value) and value not in exact]


def _kept(graph: ir.Graph, choice: NodeSelection) -> tuple[KeptNode, ...]:
    nodes = (node for node in graph if node in choice.kept)
    return tuple(KeptNode(node_label(node), node.op_type, choice.kept[node]) for node in nodes)


def _described(segment: Segment, path: Path, graph: ir.Graph) -> Segment:
    inputs, outputs = _typed(segment.inputs, graph.inputs), _typed(segment.outputs, graph.outputs)
    return replace(segment, onnx=path, inputs=inputs, outputs=outputs)


def _typed(specs: Specs, values: Sequence[ir.Value]) -> Specs:
    dtypes = {value.name: value.dtype for value in values}
    return tuple(
        replace(spec, dtype="float16") if dtypes[spec.name] == ir.DataType.FLOAT16 else spec
        for spec in specs
    )
