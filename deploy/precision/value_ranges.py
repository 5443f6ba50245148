"""Value ranges, calibrated on a sample, and the tensors and weights that half cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir

from backends.contract import Array, Segment, Tensors, TensorSpec
from backends.files import temporary_folder
from deploy.convert import load_segment
from deploy.graph.index import is_weight
from deploy.graph.writing import INLINE_BYTES, write_model
from deploy.precision.definitions import HalfType, PrecisionError
from deploy.precision.node_selection import HalfOperands, NodeSelection
from deploy.recipe.schema import BackendRecipe

_MIN_OPSET = 9  # the first with Where


def peak_magnitudes(
    model: ir.Model,
    values: Sequence[ir.Value],
    segment: Segment,
    sample: Tensors,
    engine: BackendRecipe,
    scratch: Path,
) -> dict[str, float]:
    """The largest finite magnitude of each value on the sample, by name; 0 for an empty tensor.

    The maxima are computed by nodes in the graph, so that the engine returns scalars and can free
    each tensor after its last use.

    Args:
        model: the segment's graph.
        values: float32 tensors of the main graph, not of a subgraph.
        segment: gives name and inputs.
        sample: the value of each input.
        engine: the backend that runs the graph.
        scratch: an existing folder for temporary files, which are removed again.

    Raises:
        PrecisionError: the graph's opset is too old.
        ConversionError: the engine cannot run the segment.
    """
    names = list(dict.fromkeys(str(value.name) for value in values))
    if not names:
        return {}
    _check_opset(model, segment.name)
    with temporary_folder(scratch) as temporary:
        path = temporary / f"{segment.name}.onnx"
        outputs = _write_probe(_with_peak_outputs(model, names), path)
        probe = replace(segment, onnx=path, outputs=outputs)
        (temporary / "engine").mkdir()
        with load_segment(probe, engine, temporary / "engine") as runner:
            maxima = runner({spec.name: sample[spec.name] for spec in segment.inputs})
    peaks = [float(maxima[spec.name]) for spec in outputs]
    return dict(zip(names, (max(peak, 0.0) for peak in peaks), strict=True))


def _check_opset(model: ir.Model, name: str) -> None:
    opset = model.opset_imports.get("", 0)
    if opset < _MIN_OPSET:
        raise PrecisionError(
            f"segment '{name}' cannot be measured",
            expected=f"opset {_MIN_OPSET} or newer",
            got=str(opset),
            do="Save the model in a newer opset.",
        )


def _with_peak_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy whose outputs are ``max(abs(x[abs(x) < inf]))`` of each tensor ``x``."""
    probed = model.clone()
    graph = probed.graph
    values = {value.name: value for node in graph for value in node.outputs}
    values.update({value.name: value for value in graph.inputs})
    infinite, zero = _constant("inf", np.inf), _constant("zero", 0)
    graph.outputs.clear()
    graph.extend((infinite, zero))
    for number, name in enumerate(names):
        magnitude = ir.node("Abs", [values[name]])
        is_finite = ir.node("Less", [magnitude.outputs[0], infinite.outputs[0]])
        finite = ir.node("Where", [is_finite.outputs[0], magnitude.outputs[0], zero.outputs[0]])
        peak = ir.node("ReduceMax", [finite.outputs[0]], {"keepdims": 0})
        nodes = (magnitude, is_finite, finite, peak)
        for node, suffix in zip(nodes, ("abs", "less", "finite", ""), strict=True):
            node.outputs[0].name = f"deploy.peak.{number}{suffix}"
        peak.outputs[0].type, peak.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
        graph.extend(nodes)
        graph.outputs.append(peak.outputs[0])
    return probed


def _constant(name: str, value: float) -> ir.Node:
    tensor = ir.tensor(np.array(value, np.float32))
    node = ir.node("Constant", [], {"value": tensor})
    node.outputs[0].name = f"deploy.{name}"
    return node


def _write_probe(probed: ir.Model, path: Path) -> tuple[TensorSpec, ...]:
    weights = write_model(probed, path, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return tuple(TensorSpec(str(v.name), "float32", ()) for v in probed.graph.outputs)


HEADROOM = 2.0
"""Factor between the calibrated magnitude and the one that must fit, for other samples."""


_MAX_LOSS = 0.1  # share of a weight's sum of magnitudes that may be rounded away


_BLOCK = 1 << 20  # values of a weight that are processed at a time


def values_to_calibrate(selection: NodeSelection) -> list[ir.Value]:
    """The tensors that the selected nodes would read or write in half, without weights."""
    values = (
        value for node, operands in selection.half.items() for value in _half_values(node, operands)
    )
    return list(dict.fromkeys(value for value in values if not is_weight(value)))


def within_range(
    selection: NodeSelection, peaks: Mapping[str, float], half: HalfType
) -> NodeSelection:
    """The selection without nodes that have a tensor or weight out of the type's range.

    Args:
        selection: the nodes that can compute in half.
        peaks: the largest finite magnitude of each of ``values_to_calibrate``, by name.
        half: the type.
    """

    @cache
    def problem(value: ir.Value) -> str:
        if is_weight(value) and value.const_value is not None:
            return weight_range_problem(value.const_value.numpy(), str(value.name), half)
        return range_problem(peaks[str(value.name)], str(value.name), half)

    reasons = {
        node: next(filter(None, map(problem, _half_values(node, operands))), "")
        for node, operands in selection.half.items()
    }
    return selection.without({node: reason for node, reason in reasons.items() if reason})


def range_problem(peak: float, name: str, half: HalfType) -> str:
    """Why a tensor with this largest magnitude cannot be half; empty where it can."""
    limit = half.max / HEADROOM
    if peak > limit:
        return f"overflow: max {peak:.3g} > {limit:.5g} in tensor '{name}'"
    if 0 < peak < half.smallest_normal:
        return f"underflow: max {peak:.3g} < {half.smallest_normal:.3g} in tensor '{name}'"
    return ""


def weight_range_problem(weight: Array, name: str, half: HalfType) -> str:
    """Why a float32 weight of any shape cannot be half; empty where it can."""
    peak = total = lost = 0.0
    flat = weight.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        finite = block[np.isfinite(block)]
        peak = max(peak, float(np.abs(finite).max(initial=0)))
        if peak > half.max:
            return f"overflow: max {peak:.3g} > {half.max:.5g} in weight '{name}'"
        rounded = finite.astype(half.dtype.numpy()).astype(np.float32)
        total += float(np.abs(finite).sum(dtype=np.float64))
        lost += float(np.abs(finite - rounded).sum(dtype=np.float64))
    if lost > _MAX_LOSS * total:
        return f"underflow: {lost / total:.0%} of weight '{name}' is lost"
    return ""


def _half_values(node: ir.Node, operands: HalfOperands) -> Iterator[ir.Value]:
    inputs = (node.inputs[n] for n in operands.inputs)
    outputs = (node.outputs[n] for n in operands.outputs)
    return (value for value in (*inputs, *outputs) if value is not None)
