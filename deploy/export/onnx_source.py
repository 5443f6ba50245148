"""An ONNX file as the model: its inputs, and itself whole as the reference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from backends.contract import Array, Tensors, TensorSpec
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import dtype_of
from deploy.convert import load_segment
from deploy.graph.exported import Exported
from deploy.partition.segments import reference_segment
from deploy.recipe.dynamic_shapes import BATCH, named_ranges
from deploy.recipe.schema import BackendRecipe, InputRecipe, ModelRecipe, RecipeError


def complete_inputs(model: ModelRecipe) -> ModelRecipe:
    """The recipe with every input of the file, its sizes fixed or named.

    Raises:
        RecipeError: an input that the file does not have, or has with another shape or dtype; or
            a size that neither the file nor the recipe knows.
        DeployError: the file is no ONNX model.
    """
    graph = read_without_weights(_path(model)).graph
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
    return replace(model, inputs={name: _input(model, value) for name, value in values.items()})


def with_open_sizes(model: ModelRecipe) -> ModelRecipe:
    """The recipe with a range for every size that neither it nor its file fixes.

    To look at a file; such a size counts as 1.
    """
    graph = read_without_weights(_path(model)).graph
    dims = [
        (axis, dim)
        for value in graph.input
        if value.name not in model.inputs
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if not dim.HasField("dim_value")
    ]
    names = {dim.dim_param or (BATCH if axis == 0 else "") for axis, dim in dims} - {""}
    free = {name: [1, 1, 2**31 - 1] for name in sorted(names)}
    return replace(model, dynamic={**free, **model.dynamic})


class OnnxSource:
    """A completed recipe's file, to be cut at any of its tensors."""

    def __init__(self, model: ModelRecipe) -> None:
        assert model.reference is not None, "the recipe was checked"
        self._engine = model.reference
        spans = named_ranges(model.dynamic)
        inputs = tuple(
            TensorSpec(
                name,
                given.dtype,
                tuple(spans[size] if isinstance(size, str) else size for size in given.shape),
            )
            for name, given in model.inputs.items()
        )
        self._exported = Exported(_path(model), inputs, by_name=True)

    def identity(self) -> None:
        """See ``Source``; there is nothing to do."""

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """See ``Source``; there is nothing to do."""
        return self._exported

    def reference(self, points: Mapping[str, str], out: Path) -> OnnxReference:
        """See ``Source``."""
        return OnnxReference(self._exported, points, self._engine, out)


class OnnxReference:
    """The whole file in one engine.

    Attributes:
        name: what it is, for people.
    """

    def __init__(
        self, exported: Exported, points: Mapping[str, str], backend: BackendRecipe, out: Path
    ) -> None:
        """Make the engine in the folder ``out``.

        Raises:
            ConversionError: this backend cannot run the file.
        """
        self.name = f"the whole model in {backend.name}"
        self._points = points
        segment = reference_segment(exported, sorted(set(points.values())), out)
        folder = out / "engine"
        folder.mkdir()
        self._runner = load_segment(segment, backend, folder)

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """The chain's tensors for these model inputs."""
        found = {**inputs, **self._runner(inputs)}
        return {name: found[key] for name, key in self._points.items()}


def _path(model: ModelRecipe) -> Path:
    assert model.file is not None, "the recipe was checked"
    return Path(model.file).expanduser()


def _input(model: ModelRecipe, value: onnx.ValueInfoProto) -> InputRecipe:
    if not value.type.HasField("tensor_type"):
        raise RecipeError(f"input '{value.name}' of the file", expected="a tensor", got="another")
    tensor = value.type.tensor_type
    dtype = dtype_of(value)
    given = model.inputs.get(value.name)
    if given is None:
        if not tensor.HasField("shape"):
            raise RecipeError(
                f"input '{value.name}' of the file has no shape",
                do=f"Pass model.inputs={{{value.name}: {{shape: [...]}}}}.",
            )
        sizes = [_size(model, value.name, n, dim) for n, dim in enumerate(tensor.shape.dim)]
        return InputRecipe(sizes, dtype)
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if tensor.HasField("shape") and not _fits(given.shape, fixed):
        raise RecipeError(
            f"model.inputs.{value.name}.shape",
            expected=str(["any" if size is None else size for size in fixed]),
            got=str(given.shape),
        )
    if given.dtype not in ("float32", dtype):
        raise RecipeError(f"model.inputs.{value.name}.dtype", expected=dtype, got=given.dtype)
    return InputRecipe(given.shape, dtype, given.range)


def _fits(given: list[int | str], fixed: list[int | None]) -> bool:
    return len(given) == len(fixed) and all(
        size is None or size == one for one, size in zip(given, fixed, strict=True)
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
