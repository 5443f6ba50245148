"""An ONNX file as the source: its inputs, and the uncut file in one engine as the reference."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from backends.acceptance import Tolerance
from backends.contract import (
    UNBOUNDED,
    Array,
    ConversionError,
    DeployError,
    EngineError,
    Runner,
    Tensors,
    TensorSpec,
)
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import dtype_of, fixed_size
from backends.registry import about
from deploy.convert import load_segment
from deploy.export.input_values import input_value
from deploy.export.noise_floor import noise_floors
from deploy.export.onnx_classes import class_names
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph, onnx_rule_errors
from deploy.graph.observed_shapes import (
    has_uncommon_operators,
    observed_specs,
    uncommon_tensors,
)
from deploy.graph.shape_inference import has_shape
from deploy.graph.specs import spec_of
from deploy.graph.value_types import how_to_start_behind, other_type
from deploy.partition.segments import reference_segment
from deploy.recipe.dynamic_shapes import BATCH, named_ranges, varying_inputs
from deploy.recipe.schema import BackendRecipe, InputRecipe, ModelRecipe, RecipeError
from deploy.recipe.state import zero_state

_OBSERVED = "observed"  # the folder of an engine that is run to observe shapes


def complete_inputs(model: ModelRecipe) -> ModelRecipe:
    """The recipe with all inputs of the file, every size of which is fixed or a named range.

    Where it names no classes, they are those of the file's metadata.

    Raises:
        RecipeError: the recipe names an input that the file does not have, or has with another
            shape or dtype; or neither the file nor the recipe fixes a size.
        DeployError: the file is no ONNX model.
    """
    file = read_without_weights(_model_file(model))
    graph = file.graph
    weights = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in graph.input if value.name not in weights}
    check_input_types(graph, _model_file(model))
    for name in model.inputs:
        if name not in values:
            near = difflib.get_close_matches(name, values, n=1)
            raise RecipeError(
                f"model.inputs.{name}",
                expected=f"an input of the file ({', '.join(values)})",
                got=name,
                do=f"Did you mean {near[0]}?" if near else "",
            )
    inputs = {name: input_recipe(model, value) for name, value in values.items()}
    if inputs and all(recipe.value is not None for recipe in inputs.values()):
        raise RecipeError(
            "model.inputs",
            expected="an input without a value",
            got=f"values of all inputs ({', '.join(inputs)})",
            do="Leave out the value of one that changes between runs.",
        )
    classes = model.classes or class_names(file.metadata_props)
    return replace(model, inputs=inputs, classes=classes)


def with_open_sizes(model: ModelRecipe) -> ModelRecipe:
    """The recipe with a range of 1 and more for every size that neither it nor its file fixes.

    For commands that only inspect a file; they compute with such sizes as 1.
    """
    graph = read_without_weights(_model_file(model)).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {
        value.name: InputRecipe(_named_sizes(value), dtype_of(value))
        for value in graph.input
        if value.name not in {*model.inputs, *weights} and has_shape(value)
    }
    names = {size for recipe in inputs.values() for size in recipe.shape if isinstance(size, str)}
    ranges = {name: [1, 1, UNBOUNDED] for name in sorted(names)}
    return replace(model, inputs={**inputs, **model.inputs}, dynamic={**ranges, **model.dynamic})


class OnnxSource:
    """An ONNX file that can be cut at any tensor; ``complete_inputs`` makes its recipe."""

    def __init__(self, model: ModelRecipe) -> None:
        assert model.reference is not None, "validated"
        self._engine = model.reference
        self.recipe = model
        ranges = named_ranges(model.dynamic)
        inputs = tuple(
            TensorSpec(
                name,
                recipe.dtype,
                tuple(ranges[size] if isinstance(size, str) else size for size in recipe.shape),
            )
            for name, recipe in varying_inputs(model).items()
        )
        constants = {
            name: np.array(recipe.value, recipe.dtype).reshape(recipe.shape)
            for name, recipe in model.inputs.items()
            if recipe.value is not None
        }
        self._exported = Exported(_model_file(model), inputs, by_name=True, constants=constants)

    def initial_state(self) -> dict[str, Array]:
        """See ``Source``; zeros."""
        return zero_state(self.recipe)

    def with_state(self, inputs: Tensors) -> dict[str, Array]:
        """See ``Source``; noise stays, and real samples begin with zeros."""
        return {**zero_state(self.recipe), **inputs}

    def identity(self) -> None:
        """See ``Source``; nothing is exported that could be cached."""

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """See ``Source``; the file is the export, with what a run says of uncommon operators."""
        exported = self._exported
        if not has_uncommon_operators(read_without_weights(exported.onnx).graph):
            return exported
        with onnx_rule_errors(exported):
            values = uncommon_tensors(load_graph(exported).graph)
        if not values:
            return exported
        ranges = named_ranges(self.recipe.dynamic)
        specs = tuple(spec_of(value, ranges, {}, str(value.name)) for value in values)
        points = {spec.name: spec.name for spec in specs}
        try:
            computed = OnnxReference(exported, points, self._engine, out / _OBSERVED)(inputs)
        except (ConversionError, EngineError):  # the reference itself will say so
            return exported
        observed = observed_specs(specs, computed, exported.inputs)
        self._exported = replace(exported, observed=observed)
        return self._exported

    def reference(self, points: Mapping[str, str], out: Path) -> OnnxReference:
        """See ``Source``."""
        return OnnxReference(self._exported, points, self._engine, out)


class OnnxReference:
    """The uncut file in one engine as the reference; see ``Reference``.

    Attributes:
        name: what computes the values, for people.
    """

    def __init__(
        self, exported: Exported, points: Mapping[str, str], backend: BackendRecipe, out: Path
    ) -> None:
        """Build the engine in the folder ``out``.

        Raises:
            ConversionError: the backend cannot run the file.
            EngineError: the backend does not load it.
        """
        self.name = f"the whole model in {backend.name}"
        self._points = points
        self._segment = reference_segment(exported, sorted(set(points.values())), out)
        self._backend, self._out = backend, out
        try:
            self._runner = load_segment(self._segment, backend, out / "engine")
        except (ConversionError, EngineError) as error:
            raise _with_advice(error, exported) from error

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The value of every tensor of the chain, by name, for these inputs of the model."""
        return self._values(self._runner, inputs)

    def floors(self, inputs: Tensors, values: Tensors) -> dict[str, Tolerance]:
        """See ``Reference``; the engine computes the file with its options for another rounding."""
        other = about(self._backend.name).other_rounding
        if not other:
            return {}
        options = {**self._backend.options, **other}
        folder = self._out / "other_rounding"
        folder.mkdir(exist_ok=True)
        try:
            with load_segment(
                self._segment, replace(self._backend, options=options), folder
            ) as runner:
                return noise_floors(values, self._values(runner, inputs))
        except (ConversionError, EngineError):
            return {}  # such as fused operators of its own, which it does not run without fusions

    def _values(self, runner: Runner, inputs: Tensors) -> dict[str, Array]:
        values = {**inputs, **runner(inputs)}
        return {name: values[point] for name, point in self._points.items()}


def _with_advice(error: DeployError, exported: Exported) -> DeployError:
    """The error of an engine that does not take a file, with what to do if fixed sizes may be why.

    A branch that is never taken with these sizes may be invalid with them.
    """
    graph = read_without_weights(exported.onnx).graph
    sizes = {value.name: _named_sizes(value) for value in graph.input}
    fixed = {
        size: str(dim)
        for spec in exported.inputs
        for size, dim in zip(sizes[spec.name], spec.dims, strict=False)
        if isinstance(size, str) and isinstance(dim, int)
    }
    if not fixed or not any(node.op_type == "If" for node in graph.node):
        return error
    ranges = ", ".join(f"{name}: [{size}, {size}, {size}]" for name, size in fixed.items())
    deciding = [spec.name for spec in exported.inputs if spec.dtype[:3] in ("int", "boo")]
    value = f"model.inputs.{deciding[0]}={{value: ...}}" if deciding else ""
    remedy = f"Give the input that decides its value: {value}. Or let" if deciding else "Let"
    return type(error)(
        str(error).rstrip("."),
        do="The file has branches (If), of which one may be invalid with sizes that are fixed. "
        f"{remedy} them vary: model.dynamic={{{ranges}}}, with these names in the shapes of "
        "model.inputs, and with other sizes where they are possible.",
    )


def _model_file(model: ModelRecipe) -> Path:
    assert model.file is not None, "validated"
    return Path(model.file).expanduser()


def check_input_types(graph: onnx.GraphProto, path: Path) -> None:
    """Refuse a file that takes anything but tensors of numbers.

    Raises:
        RecipeError: with a way to do without that input.
    """
    weights = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in weights and (other := other_type(value)):
            raise RecipeError(
                f"input '{value.name}' of the file",
                expected="a tensor of numbers",
                got=other,
                do=how_to_start_behind(graph, str(path), value.name),
            )


def input_recipe(model: ModelRecipe, value: onnx.ValueInfoProto) -> InputRecipe:
    """An input of a file with all its sizes, from the recipe where that has them.

    Raises:
        RecipeError: as of ``complete_inputs``.
    """
    tensor = value.type.tensor_type
    dtype = dtype_of(value)
    recipe = model.inputs.get(value.name)
    if recipe is None:
        if not has_shape(value):
            raise RecipeError(
                f"input '{value.name}' of the file has no shape",
                do=f"Pass model.inputs={{{value.name}: {{shape: [...]}}}}.",
            )
        return InputRecipe(
            [_size(model, value, axis) for axis in range(len(tensor.shape.dim))], dtype
        )
    fixed = [fixed_size(dim) for dim in tensor.shape.dim]
    if recipe.value is not None:
        sizes = fixed if has_shape(value) else None
        array = input_value(value.name, recipe.value, dtype, sizes)
        return InputRecipe(list(array.shape), dtype, value=array.tolist())
    if has_shape(value) and not _fits(recipe.shape, fixed):
        raise RecipeError(
            f"model.inputs.{value.name}.shape",
            expected=str(["any" if size is None else size for size in fixed]),
            got=str(recipe.shape),
        )
    if recipe.dtype not in ("float32", dtype):
        raise RecipeError(f"model.inputs.{value.name}.dtype", expected=dtype, got=recipe.dtype)
    return InputRecipe(recipe.shape, dtype, recipe.range)


def _fits(shape: list[int | str], fixed: list[int | None]) -> bool:
    return len(shape) == len(fixed) and all(
        expected is None or size == expected for size, expected in zip(shape, fixed, strict=True)
    )


def _size(model: ModelRecipe, value: onnx.ValueInfoProto, axis: int) -> int | str:
    dim = value.type.tensor_type.shape.dim[axis]
    fixed = fixed_size(dim)
    if fixed is not None:
        return fixed
    if dim.dim_param in model.dynamic:
        return str(dim.dim_param)
    if axis == 0 and BATCH in model.dynamic:
        return BATCH
    name, sizes = value.name, _named_sizes(value)
    listed = ", ".join(map(str, sizes))
    ranges = ", ".join(f"{size}: [min, opt, max]" for size in sizes if isinstance(size, str))
    raise RecipeError(
        f"input '{name}' of the file leaves the size '{dim.dim_param or f'axis {axis}'}' open",
        expected="its sizes",
        got="none",
        do=f"Fix them: model.inputs={{{name}: {{shape: [{listed}]}}}} with numbers for the names, "
        f"or let them vary: with these names, and model.dynamic={{{ranges}}}.",
    )


def _named_sizes(value: onnx.ValueInfoProto) -> list[int | str]:
    """The sizes of the file, with a name for each open one that can be written anywhere."""
    dims = value.type.tensor_type.shape.dim
    return [
        fixed_size(dim)
        or _plain_name(dim.dim_param or (BATCH if axis == 0 else f"{value.name}_{axis}"))
        for axis, dim in enumerate(dims)
    ]


def _plain_name(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"size_{plain}" if plain[:1].isdigit() else plain
