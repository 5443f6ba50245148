"""Subgraphs of a segment, converted as the segment was, against the fp32 graph."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from backends.contract import Array, Artifact, Dynamic, EngineError, Segment, Specs, Tensors
from backends.conversion_files import write_sample
from backends.error_metrics import ErrorMetrics, compare_all, worst
from backends.files import temporary_folder
from backends.process.conversion import ConversionLimits, conversion_command, convert_in_child
from backends.registry import loader
from deploy.analysis.accuracy.replay import select_in_dtype
from deploy.convert import load_segment
from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut
from deploy.partition.segments import partition, reference_segment
from deploy.recipe.schema import BackendRecipe

_NARROW = "bfloat16"


def with_fixed_sizes(segment: Segment, values: Tensors) -> Segment:
    """The segment with fixed sizes at its boundary; its file is changed in place where needed.

    Shape inference does not find all of them; the values have them.

    Args:
        segment: a subgraph of a segment of fixed sizes.
        values: of its inputs and outputs, by their names.
    """
    boundary = (*segment.inputs, *segment.outputs)
    unknown = {spec.name for spec in boundary if _is_open(spec.shape)}
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
    """The segment with Casts at its bfloat16 inputs and outputs, since NumPy has no such dtype.

    Its file is changed in place where needed.
    """
    if not any(spec.dtype == _NARROW for spec in (*segment.inputs, *segment.outputs)):
        return segment
    model = onnx.load(segment.onnx, load_external_data=False)
    graph = model.graph
    cast_inputs = {value.name: f"{value.name}.{_NARROW}" for value in _bfloat16(graph.input)}
    cast_outputs = {value.name: f"{value.name}.float32" for value in _bfloat16(graph.output)}
    for node in graph.node:
        node.input[:] = [cast_inputs.get(name, name) for name in node.input]
    input_casts = [_cast(*names, TensorProto.BFLOAT16) for names in cast_inputs.items()]
    output_casts = [_cast(*names, TensorProto.FLOAT) for names in cast_outputs.items()]
    nodes = [*input_casts, *graph.node, *output_casts]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in _bfloat16((*graph.input, *graph.output)):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for value in graph.output:
        value.name = cast_outputs.get(value.name, value.name)
    onnx.save(model, segment.onnx)
    return replace(
        segment,
        inputs=_float32_specs(segment.inputs, {}),
        outputs=_float32_specs(segment.outputs, cast_outputs),
    )


def _is_open(shape: Iterable[object] | None) -> bool:
    return shape is None or any(isinstance(dim, Dynamic) for dim in shape)


def _dim(size: int) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=size)


def _bfloat16(values: Iterable[onnx.ValueInfoProto]) -> list[onnx.ValueInfoProto]:
    return [item for item in values if item.type.tensor_type.elem_type == TensorProto.BFLOAT16]


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
class SubgraphBoundary:
    """The boundary tensors of a subgraph.

    Attributes:
        inputs: the tensors that it starts at.
        outputs: the tensors that it ends with.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class SegmentProber:
    """Cuts subgraphs out of a segment, converts them and compares them with the fp32 graph.

    Attributes:
        step: the segment as it was converted: its backend, options and precision.
        original: its graph in fp32.
        converted: its graph as it was converted.
        inputs: the reference's values of its inputs.
        engine: the backend that runs the original.
        timeout: seconds for one conversion.
    """

    step: Artifact
    original: Exported
    converted: Exported
    inputs: Tensors
    engine: BackendRecipe
    timeout: float

    def reference_values(self, tensors: Sequence[str]) -> dict[str, Array]:
        """The reference's value of some tensors of the segment, by running the original.

        Raises:
            ConversionError: the reference's engine cannot run the segment.
            EngineError: likewise.
        """
        inside = [name for name in tensors if name not in self.inputs]
        values = {name: self.inputs[name] for name in tensors if name in self.inputs}
        if not inside:
            return values
        with temporary_folder() as folder:
            segment = reference_segment(self.original, inside, folder)
            engine_folder = folder / "engine"
            engine_folder.mkdir()
            with load_segment(segment, self.engine, engine_folder) as runner:
                outputs = runner(select_in_dtype(segment.inputs, self.inputs))
        return values | {name: outputs[name] for name in inside}

    def cut(self, boundary: SubgraphBoundary, values: Tensors, folder: Path) -> Segment:
        """Cut a subgraph out of the converted graph, as a segment of its own.

        Args:
            boundary: between which tensors.
            values: of all of them.
            folder: that gets its file.

        Raises:
            PartitionError: the graph cannot be cut there.
        """
        cut = Cut(self.step.name, list(boundary.inputs), list(boundary.outputs))
        (segment,) = partition(self.converted, [cut], folder).segments
        dims = [dim for spec in self.step.inputs for dim in spec.dims]
        if any(isinstance(dim, Dynamic) for dim in dims):
            return segment
        return without_bfloat16(with_fixed_sizes(segment, values))

    def error(
        self, segment: Segment, values: Tensors, expected: Tensors
    ) -> tuple[ErrorMetrics, str]:
        """Convert a subgraph as the segment was converted, run it and compare its outputs.

        Args:
            segment: the subgraph.
            values: of its inputs.
            expected: the reference's values of its outputs.

        Returns:
            The largest error of an output; and the error message where the engine failed.

        Raises:
            ConversionError: the backend cannot convert it.
        """
        step = self.step
        with temporary_folder() as folder:
            out = folder / "artifact"
            limits = ConversionLimits(self.timeout)
            artifact = convert_in_child(
                segment, step.backend, step.options, step.precision, None, out, limits
            )
            try:
                with loader(artifact.backend)(artifact, out) as runner:
                    outputs = runner(select_in_dtype(segment.inputs, values))
            except EngineError as error:  # such as a net with an output of a wrong shape
                return worst(compare_all(expected, {})), str(error)
        actual = dict(zip(expected, (outputs[spec.name] for spec in segment.outputs), strict=True))
        return worst(compare_all(expected, actual)), ""

    def write_sample(self, segment: Segment, values: Tensors, expected: Tensors) -> str:
        """Write the sample of a subgraph beside it.

        Args:
            segment: the subgraph.
            values: of its inputs.
            expected: the reference's values of its outputs.

        Returns:
            The command that converts the subgraph and checks it on the sample.
        """
        sample = segment.onnx.with_suffix(".sample.npz")
        names = (spec.name for spec in segment.outputs)
        outputs = dict(zip(names, expected.values(), strict=True))
        with np.errstate(over="ignore"):
            write_sample(sample, segment.inputs, segment.outputs, {**values, **outputs})
        step, out = self.step, segment.onnx.with_suffix("")
        words = conversion_command(segment, step.backend, step.options, step.precision, sample, out)
        return shlex.join(["python", *words[1:]])
