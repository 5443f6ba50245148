"""A segment in half precision: node selection, calibration, and casts in the graph."""

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
    HALF_TYPES,
    CastRequest,
    CastResult,
    HalfType,
    KeptNode,
    PrecisionError,
    is_float32,
    node_label,
)
from deploy.precision.insert_casts import insert_casts
from deploy.precision.node_selection import (
    NodeSelection,
    pixel_coordinates,
    select_nodes,
    without_fp32_data_movement,
)
from deploy.precision.value_ranges import (
    peak_magnitudes,
    range_problem,
    values_to_calibrate,
    within_range,
)
from deploy.recipe.schema import BackendRecipe

_BFLOAT16_OPSET = 22  # the first in which Conv, pooling and normalisation accept bfloat16


_CALIBRATION_OPSET = 9  # the first with Where, which calibration uses


_CONVERTIBLE_OPSET = 18  # onnxscript converts from here on; onnx, below, breaks subgraphs


_IR_VERSION = 10  # of models with a raised opset


def raise_opset(model: ir.Model, half: HalfType, folder: Path) -> None:
    """Raise the opset of an older model to one with half precision, where possible.

    Names, types and shapes do not change. Models with functions, and old ones with subgraphs or
    with operators that have no converter, stay as they are: their nodes may have to stay in fp32.

    Args:
        model: the model, changed in place.
        half: the type to cast to.
        folder: the folder of its external data.
    """
    required = _BFLOAT16_OPSET if half is BF16 else _CALIBRATION_OPSET
    opset = model.opset_imports.get("", required)
    has_old_subgraphs = opset < _CONVERTIBLE_OPSET and _has_subgraphs(model.graph)
    if opset >= required or model.functions or has_old_subgraphs:
        return
    with ExitStack() as stack:  # silenced: nodes that are not converted are reported as kept
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        version_converter.convert_version(model, required, fallback=True)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    ir.external_data.set_base_dir(model.graph, folder)


def _has_subgraphs(graph: ir.Graph) -> bool:
    return any(True for node in graph for _ in bodies(node))


_DEFAULT_OPSET = 22  # of a file with operators of other domains alone


def requests_per_segment(
    request: CastRequest, segments: Sequence[Segment]
) -> dict[str, CastRequest]:
    """Split a request for several segments into one for each, by the segment's name.

    An operator or node that no segment has stays in all requests, and ``cast_to_half`` refuses it.
    """
    nodes = {segment.name: read_without_weights(segment.onnx).graph.node for segment in segments}
    ops = {name: {node.op_type for node in graph} for name, graph in nodes.items()}
    labels = {
        name: {node.name or next(iter(node.output), "") for node in graph}
        for name, graph in nodes.items()
    }
    return {
        segment.name: replace(
            request,
            keep_ops=_names_of_segment(request.keep_ops, ops, segment.name),
            keep_nodes=_names_of_segment(request.keep_nodes, labels, segment.name),
        )
        for segment in segments
    }


def cast_to_half(
    segment: Segment, request: CastRequest, sample: Tensors, engine: BackendRecipe, out: Path
) -> CastResult:
    """Write a copy of a segment in which every node that can computes in half precision.

    A node stays in fp32 where the request says so, where ONNX has no half precision for it, where
    it computes with sizes and weights alone or with coordinates in pixels, and where a value does
    not fit: value ranges are calibrated by running the segment on the sample.

    Args:
        segment: the segment in fp32; its file is not changed.
        request: the type, and the operators and nodes that stay in fp32.
        sample: the reference's value of each input, for calibration.
        engine: the backend that runs the segment in fp32, for calibration.
        out: the folder for ``<segment>.onnx`` and its large weights.

    Returns:
        The cast segment, and the nodes that stay in fp32 with their reasons.

    Raises:
        PrecisionError: the request names an operator or node that the segment does not have, or
            inputs and outputs in bfloat16, which NumPy lacks; or ``out`` is the segment's folder.
        DeployError: the file is no ONNX model, or its external data is outside its folder.
        ConversionError: the engine cannot run the segment.
    """
    half, path = HALF_TYPES[request.precision], out / f"{segment.name}.onnx"
    _check(segment, request, path)
    out.mkdir(parents=True, exist_ok=True)
    model = _load(segment, half)
    selection = select_nodes(model, half, request)
    boundary = _castable_boundary(model.graph) if request.io else []
    peaks = peak_magnitudes(
        model, [*values_to_calibrate(selection), *boundary], segment, sample, engine, out
    )
    selection = within_range(selection, peaks, half)
    selection = without_fp32_data_movement(selection, model.graph, request.io)
    kept = _kept_nodes(model.graph, selection)
    boundary = [value for value in boundary if not range_problem(peaks[str(value.name)], "", half)]
    insert_casts(model.graph, selection.half, half, boundary)
    weights = write_model(model, path, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return CastResult(_with_cast_specs(segment, path, model.graph), kept, len(selection.half))


def _names_of_segment(
    names: Sequence[str], known: Mapping[str, set[str]], segment: str
) -> tuple[str, ...]:
    anywhere = set().union(*known.values())
    return tuple(name for name in names if name in known[segment] or name not in anywhere)


def _check(segment: Segment, request: CastRequest, path: Path) -> None:
    if request.io and request.precision == "bf16":
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


def _load(segment: Segment, half: HalfType) -> ir.Model:
    """The model with inferred types, constants as initializers, and an opset with half types."""
    model = load_graph(Exported(segment.onnx, segment.inputs, by_name=True))
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    model.opset_imports.setdefault("", _DEFAULT_OPSET)
    raise_opset(model, half, segment.onnx.resolve().parent)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return model


def _castable_boundary(graph: ir.Graph) -> list[ir.Value]:
    """The float32 inputs and outputs that are no coordinates in pixels."""
    coordinates = pixel_coordinates(graph)
    boundary = (*graph.inputs, *graph.outputs)
    return [value for value in boundary if is_float32(value) and value not in coordinates]


def _kept_nodes(graph: ir.Graph, selection: NodeSelection) -> tuple[KeptNode, ...]:
    nodes = (node for node in graph if node in selection.kept)
    return tuple(KeptNode(node_label(node), node.op_type, selection.kept[node]) for node in nodes)


def _with_cast_specs(segment: Segment, path: Path, graph: ir.Graph) -> Segment:
    inputs = _with_dtypes(segment.inputs, graph.inputs)
    outputs = _with_dtypes(segment.outputs, graph.outputs)
    return replace(segment, onnx=path, inputs=inputs, outputs=outputs)


def _with_dtypes(specs: Specs, values: Sequence[ir.Value]) -> Specs:
    dtypes = {value.name: value.dtype for value in values}
    return tuple(
        replace(spec, dtype="float16") if dtypes[spec.name] == ir.DataType.FLOAT16 else spec
        for spec in specs
    )
