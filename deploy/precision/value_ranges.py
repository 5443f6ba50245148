"""Value ranges, calibrated on a sample: what half precision cannot hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir

from backends.contract import Array, Segment, Tensors, TensorSpec
from deploy.convert import load_segment
from deploy.graph.index import is_weight
from deploy.graph.writing import INLINE_BYTES, write_model
from deploy.precision.definitions import HalfType, PrecisionError
from deploy.precision.node_selection import HalfOperands, NodeSelection
from deploy.recipe.schema import BackendRecipe

_OLDEST_OPSET = 9  # the first with Where


def peak_magnitudes(
    model: ir.Model,
    values: Sequence[ir.Value],
    segment: Segment,
    sample: Tensors,
    engine: BackendRecipe,
    scratch: Path,
) -> dict[str, float]:
    """The largest finite magnitude of each value by its name, 0 for an empty one.

    They are found in the graph, so that only these numbers come out and an engine can forget
    each tensor as soon as it is used.

    Args:
        model: the segment's graph.
        values: float32 tensors of the graph itself, not of a body.
        segment: its name and inputs.
        sample: for each of its inputs.
        engine: what runs it.
        scratch: an existing folder; what is written there is removed again.

    Raises:
        PrecisionError: the graph's opset is too old.
        ConversionError: the engine cannot run the segment.
    """
    names = list(dict.fromkeys(str(value.name) for value in values))
    if not names:
        return {}
    _check_opset(model, segment.name)
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        path = Path(made) / f"{segment.name}.onnx"
        outputs = _write_probe(_with_peak_outputs(model, names), path)
        probe = replace(segment, onnx=path, outputs=outputs)
        (Path(made) / "engine").mkdir()
        with load_segment(probe, engine, Path(made) / "engine") as runner:
            found = runner({spec.name: sample[spec.name] for spec in segment.inputs})
    numbers = [float(found[spec.name]) for spec in outputs]
    return dict(zip(names, (max(number, 0.0) for number in numbers), strict=True))


def _check_opset(model: ir.Model, name: str) -> None:
    opset = model.opset_imports.get("", 0)
    if opset < _OLDEST_OPSET:
        raise PrecisionError(
            f"segment '{name}' cannot be measured",
            expected=f"opset {_OLDEST_OPSET} or newer",
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
        size = ir.node("Abs", [values[name]])
        finite = ir.node("Less", [size.outputs[0], infinite.outputs[0]])
        rest = ir.node("Where", [finite.outputs[0], size.outputs[0], zero.outputs[0]])
        peak = ir.node("ReduceMax", [rest.outputs[0]], {"keepdims": 0})
        for node, step in zip((size, finite, rest, peak), ("abs", "less", "rest", ""), strict=True):
            node.outputs[0].name = f"deploy.peak.{number}{step}"
        peak.outputs[0].type, peak.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
        graph.extend((size, finite, rest, peak))
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


HEADROOM = 2.0  # times what the sample shows is what other samples may need


_LOSS = 0.1  # of a weight's sum of magnitudes, that half may not hold


_BLOCK = 1 << 20  # values that are looked at together


Why = Callable[[ir.Value], str]


def values_to_calibrate(choice: NodeSelection) -> list[ir.Value]:
    """The values that are to be measured: those that would be half, without weights."""
    found = (value for node, spots in choice.half.items() for value in _values(node, spots))
    return list(dict.fromkeys(value for value in found if not is_weight(value)))


def within_range(
    choice: NodeSelection, peaks: Mapping[str, float], half: HalfType
) -> NodeSelection:
    """The choice without nodes of which a tensor or a weight does not fit.

    Args:
        choice: what can be half.
        peaks: the largest finite magnitude of every ``measured`` value by its name.
        half: the type.
    """

    @cache
    def why(value: ir.Value) -> str:
        if is_weight(value) and value.const_value is not None:
            return weight_range_problem(value.const_value.numpy(), str(value.name), half)
        return range_problem(peaks[str(value.name)], str(value.name), half)

    kept = {node: _reason(node, spots, why) for node, spots in choice.half.items()}
    return choice.without({node: reason for node, reason in kept.items() if reason})


def _reason(node: ir.Node, spots: HalfOperands, why: Why) -> str:
    return next(filter(None, map(why, _values(node, spots))), "")


def range_problem(peak: float, name: str, half: HalfType) -> str:
    """Why a tensor of this largest magnitude cannot be half; nothing where it can."""
    limit = half.largest / HEADROOM
    if peak > limit:
        return f"overflow: max {peak:.3g} > {limit:.5g} in tensor '{name}'"
    if 0 < peak < half.normal:
        return f"underflow: max {peak:.3g} < {half.normal:.3g} in tensor '{name}'"
    return ""


def weight_range_problem(weight: Array, name: str, half: HalfType) -> str:
    """Why a float32 weight of any shape cannot be half; nothing where it can."""
    peak = total = lost = 0.0
    flat = weight.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        finite = block[np.isfinite(block)]
        peak = max(peak, float(np.abs(finite).max(initial=0)))
        if peak > half.largest:
            return f"overflow: max {peak:.3g} > {half.largest:.5g} in weight '{name}'"
        rounded = finite.astype(half.dtype.numpy()).astype(np.float32)
        total += float(np.abs(finite).sum(dtype=np.float64))
        lost += float(np.abs(finite - rounded).sum(dtype=np.float64))
    if lost > _LOSS * total:
        return f"underflow: {lost / total:.0%} of weight '{name}' is lost"
    return ""


def _values(node: ir.Node, spots: HalfOperands) -> Iterator[ir.Value]:
    inputs = (node.inputs[n] for n in spots.inputs)
    outputs = (node.outputs[n] for n in spots.outputs)
    return (value for value in (*inputs, *outputs) if value is not None)
