"""The largest magnitudes that tensors reach, by running a segment in an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from backends.contract import Segment, Tensors, TensorSpec
from deploy.casting.words import PrecisionError
from deploy.cutting.segments import INLINE_BYTES, write
from deploy.engine import start
from deploy.recipe import BackendRecipe

_OPSET = 9  # the first with Where


def peaks(
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
        outputs = _write(_probed(model, names), path)
        probe = replace(segment, onnx=path, outputs=outputs)
        (Path(made) / "engine").mkdir()
        with start(probe, engine, Path(made) / "engine") as runner:
            found = runner({spec.name: sample[spec.name] for spec in segment.inputs})
    numbers = [float(found[spec.name]) for spec in outputs]
    return dict(zip(names, (max(number, 0.0) for number in numbers), strict=True))


def _check_opset(model: ir.Model, name: str) -> None:
    opset = model.opset_imports.get("", 0)
    if opset < _OPSET:
        raise PrecisionError(
            f"segment '{name}' cannot be measured",
            expected=f"opset {_OPSET} or newer",
            got=str(opset),
            do="Save the model in a newer opset.",
        )


def _probed(model: ir.Model, names: Sequence[str]) -> ir.Model:
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


def _write(probed: ir.Model, path: Path) -> tuple[TensorSpec, ...]:
    weights = write(probed, path, INLINE_BYTES)
    if weights is not None:
        weights.write()
    return tuple(TensorSpec(str(v.name), "float32", ()) for v in probed.graph.outputs)
