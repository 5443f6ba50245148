"""A segment in half precision: the graph itself says what computes in which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from backends.contract import Segment, Specs, Tensors
from backends.onnx_file import read_skeleton
from deploy.casting.choosing import Choice, possible, unmoved
from deploy.casting.measuring import peaks
from deploy.casting.opsets import raise_opset
from deploy.casting.ranges import in_range, measured, misfit
from deploy.casting.regions import regions
from deploy.casting.retyping import retype
from deploy.casting.words import (
    HALVES,
    Cast,
    Casting,
    Half,
    Kept,
    PrecisionError,
    is_float,
    label,
)
from deploy.cutting.loading import load_graph
from deploy.cutting.segments import INLINE_BYTES, WEIGHTS_APART, write
from deploy.exported import Exported
from deploy.recipe import BackendRecipe

__all__ = ["Cast", "Casting", "Kept", "PrecisionError", "cast_segment", "narrowed"]

_OPSET = 22


def narrowed(asked: Cast, segments: Sequence[Segment]) -> dict[str, Cast]:
    """What of a request for several segments is for each of them, by the segment's name.

    A name that none of them has stays with all, so that it is refused.
    """
    nodes = {segment.name: read_skeleton(segment.onnx).graph.node for segment in segments}
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
    segment: Segment, asked: Cast, sample: Tensors, engine: BackendRecipe, out: Path
) -> Casting:
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
    choice = possible(model, half, asked)
    ends = _ends(model.graph) if asked.io else []
    found = peaks(model, [*measured(choice), *ends], segment, sample, engine, out)
    choice = unmoved(in_range(choice, found, half), model.graph, asked.io)
    kept = _kept(model.graph, choice)
    fitting = [end for end in ends if not misfit(found[str(end.name)], "", half)]
    retype(model.graph, choice.half, half, fitting)
    weights = write(model, path, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return Casting(_described(segment, path, model.graph), kept, len(choice.half))


def _own(names: Sequence[str], known: Mapping[str, set[str]], segment: str) -> tuple[str, ...]:
    anywhere = set().union(*known.values())
    return tuple(name for name in names if name in known[segment] or name not in anywhere)


def _check(segment: Segment, asked: Cast, path: Path) -> None:
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


def _loaded(segment: Segment, half: Half) -> ir.Model:
    """The graph with a type for every value, constants as weights, in a version that has half."""
    model = load_graph(Exported(segment.onnx, segment.inputs, by_name=True))
    model.ir_version = max(model.ir_version, WEIGHTS_APART)
    model.opset_imports.setdefault("", _OPSET)  # of a file with operators of other domains alone
    raise_opset(model, half, segment.onnx.resolve().parent)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return model


def _ends(graph: ir.Graph) -> list[ir.Value]:
    """The inputs and outputs that may be half."""
    exact = regions(graph)
    ends = (*graph.inputs, *graph.outputs)
    return [value for value in ends if is_float(value) and value not in exact]


def _kept(graph: ir.Graph, choice: Choice) -> tuple[Kept, ...]:
    nodes = (node for node in graph if node in choice.kept)
    return tuple(Kept(label(node), node.op_type, choice.kept[node]) for node in nodes)


def _described(segment: Segment, path: Path, graph: ir.Graph) -> Segment:
    inputs, outputs = _typed(segment.inputs, graph.inputs), _typed(segment.outputs, graph.outputs)
    return replace(segment, onnx=path, inputs=inputs, outputs=outputs)


def _typed(specs: Specs, values: Sequence[ir.Value]) -> Specs:
    dtypes = {value.name: value.dtype for value in values}
    return tuple(
        replace(spec, dtype="float16") if dtypes[spec.name] == ir.DataType.FLOAT16 else spec
        for spec in specs
    )
