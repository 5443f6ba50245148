"""Parts of a segment, converted as the whole was, against the same parts in the reference."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from backends.contract import Array, Artifact, Dynamic, EngineError, Segment, Specs, Tensors
from backends.conversion_files import write_sample
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.process.conversion import ConversionLimits, conversion_command, convert_in_child
from backends.registry import loader
from deploy.analysis.accuracy.replay import in_dtype
from deploy.convert import load_segment
from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut
from deploy.partition.segments import partition, reference_segment
from deploy.recipe.schema import BackendRecipe

_NARROW = "bfloat16"


def with_fixed_sizes(segment: Segment, values: Tensors) -> Segment:
    """The segment with fixed sizes at its ends; its file is changed in place where there is need.

    What infers shapes does not know them all, and the values show them.

    Args:
        segment: a part of a segment of fixed sizes.
        values: of its inputs and outputs, by their names.
    """
    ends = (*segment.inputs, *segment.outputs)
    unknown = {spec.name for spec in ends if _is_open(spec.shape)}
    if not unknown:
        return segment
    model = onnx.load(segment.onnx, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        if value.name in unknown:
            dims = [_dim(size) for size in values[value.name].shape]
            del value.type.tensor_type.shape.dim[:]
            value.type.tensor_type.shape.dim.extend(dims)
            value.type.tensor_type.shape.SetInParent()
    onnx.save(model, segment.onnx)
    inputs, outputs = (
        tuple(replace(spec, shape=values[spec.name].shape) for spec in specs)
        for specs in (segment.inputs, segment.outputs)
    )
    return replace(segment, inputs=inputs, outputs=outputs)


def without_bfloat16(segment: Segment) -> Segment:
    """The segment with Casts at those ends that are bfloat16, which NumPy has not; likewise."""
    if not any(spec.dtype == _NARROW for spec in (*segment.inputs, *segment.outputs)):
        return segment
    model = onnx.load(segment.onnx, load_external_data=False)
    graph = model.graph
    taken = {value.name: f"{value.name}.{_NARROW}" for value in _bfloat16_values(graph.input)}
    given = {value.name: f"{value.name}.float32" for value in _bfloat16_values(graph.output)}
    for node in graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
    before = [_cast(name, inner, TensorProto.BFLOAT16) for name, inner in taken.items()]
    after = [_cast(name, outer, TensorProto.FLOAT) for name, outer in given.items()]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in _bfloat16_values((*graph.input, *graph.output)):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for value in graph.output:
        value.name = given.get(value.name, value.name)
    onnx.save(model, segment.onnx)
    return replace(
        segment,
        inputs=_float32_specs(segment.inputs, {}),
        outputs=_float32_specs(segment.outputs, given),
    )


def _is_open(shape: Iterable[object] | None) -> bool:
    return shape is None or any(isinstance(dim, Dynamic) for dim in shape)


def _dim(size: int) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=size)


def _bfloat16_values(values: Iterable[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    return [one for one in values if one.type.tensor_type.elem_type == TensorProto.BFLOAT16]


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=dtype)


def _float32_specs(specs: Specs, names: Mapping[str, str]) -> Specs:
    return tuple(
        replace(spec, name=names.get(spec.name, spec.name), dtype="float32")
        if spec.dtype == _NARROW
        else spec
        for spec in specs
    )


@dataclass(frozen=True)
class SegmentPart:
    """A part of a segment between some of its tensors."""

    starts: tuple[str, ...]
    ends: tuple[str, ...]


@dataclass(frozen=True)
class SegmentProbe:
    """A segment, and what its parts are run with.

    Attributes:
        step: the segment as it was converted: its backend, options and precision.
        original: its graph in fp32.
        converted: its graph as it was converted.
        inputs: the reference's own inputs of it.
        engine: what runs the original.
        timeout: seconds for one conversion.
    """

    step: Artifact
    original: Exported
    converted: Exported
    inputs: Tensors
    engine: BackendRecipe
    timeout: float

    def expected(self, tensors: Sequence[str]) -> dict[str, Array]:
        """The reference's value of some tensors of the segment.

        Raises:
            ConversionError: the reference's engine cannot run the segment.
            EngineError: likewise.
        """
        inside = [name for name in tensors if name not in self.inputs]
        found = {name: self.inputs[name] for name in tensors if name in self.inputs}
        if not inside:
            return found
        with tempfile.TemporaryDirectory() as folder:
            segment = reference_segment(self.original, inside, Path(folder))
            engine = Path(folder) / "engine"
            engine.mkdir()
            with load_segment(segment, self.engine, engine) as runner:
                outputs = runner(in_dtype(segment.inputs, self.inputs))
        return found | {name: outputs[name] for name in inside}

    def cut(self, part: SegmentPart, values: Tensors, folder: Path) -> Segment:
        """A part of the converted graph as a segment of its own.

        Args:
            part: between which tensors.
            values: of all of them.
            folder: that gets its file.

        Raises:
            PartitionError: the graph cannot be cut there.
        """
        cut = Cut(self.step.name, list(part.starts), list(part.ends))
        (segment,) = partition(self.converted, [cut], folder).segments
        fixed = not any(isinstance(dim, Dynamic) for spec in self.step.inputs for dim in spec.dims)
        return without_bfloat16(with_fixed_sizes(segment, values) if fixed else segment)

    def gap(self, segment: Segment, values: Tensors, expected: Tensors) -> tuple[ErrorMetrics, str]:
        """How far a part is off when its backend runs it, and what it said if it failed.

        Args:
            segment: the part.
            values: of its inputs.
            expected: the reference's value of what it ends with.

        Raises:
            ConversionError: the backend cannot convert it.
        """
        step = self.step
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "artifact"
            allowed = ConversionLimits(self.timeout)
            artifact = convert_in_child(
                segment, step.backend, step.options, step.precision, None, out, allowed
            )
            try:
                with loader(artifact.backend)(artifact, out) as runner:
                    found = runner(in_dtype(segment.inputs, values))
            except EngineError as error:  # such as a net that gives another shape than it should
                return worst(compare_all(expected, {})), str(error)
        named = dict(zip(expected, (found[spec.name] for spec in segment.outputs), strict=True))
        return worst(compare_all(expected, named)), ""

    def keep(self, segment: Segment, values: Tensors, expected: Tensors) -> str:
        """Write the sample of a part beside it; returns the command that converts and checks it."""
        sample = segment.onnx.with_suffix(".sample.npz")
        ends = dict(zip((spec.name for spec in segment.outputs), expected.values(), strict=True))
        with np.errstate(over="ignore"):
            write_sample(sample, segment.inputs, segment.outputs, {**values, **ends})
        step, out = self.step, segment.onnx.with_suffix("")
        words = conversion_command(segment, step.backend, step.options, step.precision, sample, out)
        return shlex.join(["python", *words[1:]])
