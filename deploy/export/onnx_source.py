"""An ONNX file as the source: its inputs, and the uncut file in one engine as the reference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from backends.acceptance import Tolerance
from backends.contract import (
    Array,
    ConversionError,
    EngineError,
    Runner,
    Tensors,
    TensorSpec,
)
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import dtype_of
from backends.registry import about
from deploy.convert import load_segment
from deploy.export.noise_floor import noise_floors
from deploy.graph.exported import Exported
from deploy.partition.segments import reference_segment
from deploy.recipe.dynamic_shapes import BATCH, named_ranges
from deploy.recipe.schema import BackendRecipe, InputRecipe, ModelRecipe, RecipeError


def complete_inputs(model: ModelRecipe) -> ModelRecipe:
    """The recipe with all inputs of the file, every size of which is fixed or a named range.

    Raises:
        RecipeError: the recipe names an input that the file does not have, or has with another
            shape or dtype; or neither the file nor the recipe fixes a size.
        DeployError: the file is no ONNX model.
    """
    graph = read_without_weights(_model_file(model)).graph
    weights = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in graph.input if value.name not in weights}
    for name in model.inputs:
        if name not in values:
            near = difflib.get_close_matches(name, values, n=1)
            raise RecipeError(
                f"model.inputs.{name}",
                expected=f"an input of the file ({', '.join(values)})",
                got=name,
                do=f"Did you mean {near[0]}?" if near else "",
            )
    return replace(
        model, inputs={name: _input_recipe(model, value) for name, value in values.items()}
    )


def with_open_sizes(model: ModelRecipe) -> ModelRecipe:
    """The recipe with a range of 1 and more for every size that neither it nor its file fixes.

    For commands that only inspect a file; they compute with such sizes as 1.
    """
    graph = read_without_weights(_model_file(model)).graph
    dims = [
        (axis, dim)
        for value in graph.input
        if value.name not in model.inputs
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if not dim.HasField("dim_value")
    ]
    names = {dim.dim_param or (BATCH if axis == 0 else "") for axis, dim in dims} - {""}
    ranges = {name: [1, 1, 2**31 - 1] for name in sorted(names)}
    return replace(model, dynamic={**ranges, **model.dynamic})


class OnnxSource:
    """An ONNX file that can be cut at any tensor; ``complete_inputs`` makes its recipe."""

    def __init__(self, model: ModelRecipe) -> None:
        assert model.reference is not None, "validated"
        self._engine = model.reference
        ranges = named_ranges(model.dynamic)
        inputs = tuple(
            TensorSpec(
                name,
                recipe.dtype,
                tuple(ranges[size] if isinstance(size, str) else size for size in recipe.shape),
            )
            for name, recipe in model.inputs.items()
        )
        self._exported = Exported(_model_file(model), inputs, by_name=True)

    def identity(self) -> None:
        """See ``Source``; nothing is exported that could be cached."""

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """See ``Source``; the file is the export."""
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
        """
        self.name = f"the whole model in {backend.name}"
        self._points = points
        self._segment = reference_segment(exported, sorted(set(points.values())), out)
        self._backend, self._out = backend, out
        folder = out / "engine"
        folder.mkdir()
        self._runner = load_segment(self._segment, backend, folder)

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


def _model_file(model: ModelRecipe) -> Path:
    assert model.file is not None, "validated"
    return Path(model.file).expanduser()


def _input_recipe(model: ModelRecipe, value: onnx.ValueInfoProto) -> InputRecipe:
    if not value.type.HasField("tensor_type"):
        raise RecipeError(f"input '{value.name}' of the file", expected="a tensor", got="another")
    tensor = value.type.tensor_type
    dtype = dtype_of(value)
    recipe = model.inputs.get(value.name)
    if recipe is None:
        if not tensor.HasField("shape"):
            raise RecipeError(
                f"input '{value.name}' of the file has no shape",
                do=f"Pass model.inputs={{{value.name}: {{shape: [...]}}}}.",
            )
        sizes = [_size(model, value.name, n, dim) for n, dim in enumerate(tensor.shape.dim)]
        return InputRecipe(sizes, dtype)
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if tensor.HasField("shape") and not _fits(recipe.shape, fixed):
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


def _size(
    model: ModelRecipe, name: str, axis: int, dim: onnx.TensorShapeProto.Dimension
) -> int | str:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    if dim.dim_param in model.dynamic:
        return str(dim.dim_param)
    if axis == 0 and BATCH in model.dynamic:
        return BATCH
    size = dim.dim_param or f"axis {axis}"
    raise RecipeError(
        f"input '{name}' of the file leaves the size '{size}' open",
        expected="its sizes",
        got="none",
        do=f"Fix it: model.inputs={{{name}: {{shape: [...]}}}}, or give its range: "
        f"model.dynamic={{{dim.dim_param or BATCH}: [min, opt, max]}}.",
    )
