"""Several ONNX files as the source: each a segment, wired by the names of their tensors.

A tensor of a file has its own name in the chain, or the one that the recipe gives it. An input
that is an output of an earlier file or of a host step is wired to it; the others are inputs of the
chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from backends.contract import Array, Dynamic, Segment, Specs, Tensors, TensorSpec
from backends.onnx.model_file import read_without_weights
from backends.onnx.specs import dtype_of, fixed_size
from deploy.export.onnx_source import OnnxSource, check_input_types, input_recipe
from deploy.export.reference_chain import ReferenceChain
from deploy.graph.exported import Exported
from deploy.graph.value_types import how_to_save_before, other_type
from deploy.partition.host_steps import declared_spec, resolve_host_steps
from deploy.partition.segments import Partition, file_segment
from deploy.recipe.dynamic_shapes import named_ranges, varying_inputs
from deploy.recipe.sample_inputs import sample_inputs
from deploy.recipe.schema import (
    FileRecipe,
    HostRecipe,
    InputRecipe,
    ModelRecipe,
    Recipe,
    RecipeError,
    SegmentRecipe,
)
from deploy.recipe.state import zero_state


@dataclass(frozen=True)
class _File:
    """An ONNX file of a recipe.

    Attributes:
        name: of its segment.
        path: of the file.
        inputs: its inputs that are no weights, by their names in the chain.
        outputs: the name in the chain of each of its outputs.
    """

    name: str
    path: Path
    inputs: Mapping[str, onnx.ValueInfoProto]
    outputs: Mapping[str, str]

    @property
    def names(self) -> dict[str, str]:
        """The name in the chain of each input and output, by the name in the file."""
        return {**{value.name: name for name, value in self.inputs.items()}, **self.outputs}


def complete_files(recipe: Recipe) -> Recipe:
    """The recipe with a segment for each file, and with all inputs of the chain.

    Raises:
        RecipeError: a name that a file does not have, or an input of open size; a file that takes
            what a later one gives; or a partition beside the files.
        DeployError: a file is no ONNX model.
    """
    if recipe.partition.segments or recipe.partition.cuts:
        raise RecipeError(
            "partition beside model.files",
            expected="none: each file is a segment",
            got="segments or cuts",
            do="Leave it out; to cut a file, deploy it alone with +model=onnx.",
        )
    files = list(_read_files(recipe.model))
    _check_order(files)
    _check_shared_inputs(files)
    chain_inputs = _chain_inputs(files, recipe.partition.host)
    known = {name for file in files for name in file.inputs}
    for name in recipe.model.inputs:
        if name not in known:
            raise RecipeError(
                f"model.inputs.{name}",
                expected=f"an input of a file ({', '.join(sorted(known))})",
                got=name,
            )
    inputs = {
        name: _input_recipe(recipe.model, name, value)
        for file in files
        for name, value in file.inputs.items()
        if name in chain_inputs
    }
    segments = [
        SegmentRecipe(file.name, list(file.inputs), list(file.outputs), [*file.outputs.values()])
        for file in files
    ]
    return replace(
        recipe,
        model=replace(recipe.model, inputs={**recipe.model.inputs, **inputs}),
        partition=replace(recipe.partition, segments=segments),
    )


class OnnxFiles:
    """ONNX files that run one after the other; ``complete_files`` makes their recipe.

    Attributes:
        recipe: the model's recipe with the inputs of the chain alone.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._model = recipe.model
        self._host = recipe.partition.host
        self._files = list(_read_files(recipe.model))
        names = _chain_inputs(self._files, self._host)
        inputs = {name: value for name, value in recipe.model.inputs.items() if name in names}
        self.recipe = replace(recipe.model, inputs=inputs)

    def initial_state(self) -> dict[str, Array]:
        """See ``Source``; zeros."""
        return zero_state(self.recipe)

    def with_state(self, inputs: Tensors) -> dict[str, Array]:
        """See ``Source``; noise stays, and real samples begin with zeros."""
        return {**zero_state(self.recipe), **inputs}

    def identity(self) -> None:
        """See ``Source``; nothing is exported that could be cached."""

    def export(self, inputs: Tensors, out: Path) -> Exported:
        """Refused: there is no one graph.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(
            "model.files has no one graph", do="Name one file: python -m deploy inspect FILE.onnx."
        )

    def partition(self, out: Path, observed: Specs = ()) -> Partition:
        """The segments, one of each file.

        Args:
            out: the folder that gets ``<segment>.onnx``.
            observed: of tensors of the chain; see ``Exported``.

        Raises:
            RecipeError: a file takes a tensor in another dtype or shape than the earlier one gives.
            DeployError: a file cannot be simplified or written.
        """
        segments = tuple(self._segments(out, observed, fold=True))
        specs = [spec for segment in segments for spec in (*segment.inputs, *segment.outputs)]
        names = {spec.name: spec.name for spec in specs}
        taken = {spec.name for segment in segments for spec in segment.inputs}
        taken |= {name for host in self._host for name in host.inputs}
        results = tuple(
            spec.name for segment in segments for spec in segment.outputs if spec.name not in taken
        )
        outputs = {name: name for file in self._files for name in file.outputs.values()}
        return Partition(segments, names, results, {}, outputs, tuple(names))

    def reference(self, points: Mapping[str, str], out: Path) -> ReferenceChain:
        """Each file as it is in one engine, with the host steps between them."""
        assert self._model.reference is not None, "validated"
        segments = tuple(self._segments(out, (), fold=False))
        host = resolve_host_steps(self._host, segments, self.inputs)
        return ReferenceChain(segments, host, self.inputs, self._model.reference, out, points)

    @property
    def inputs(self) -> Specs:
        """The inputs of the chain."""
        ranges = named_ranges(self._model.dynamic)
        inputs = varying_inputs(self.recipe)
        return tuple(_spec(name, value, ranges) for name, value in inputs.items())

    def _segments(self, out: Path, observed: Specs, *, fold: bool) -> Iterator[Segment]:
        known = {spec.name: spec for spec in (*self.inputs, *self._declared_outputs())}
        for file in self._files:
            model = self._file_model(file, known)
            exported = OnnxSource(model).export(sample_inputs(model, []), out / file.name)
            own = {chain: name for name, chain in file.names.items() if name in file.outputs}
            further = [replace(s, name=own[s.name]) for s in observed if s.name in own]
            exported = replace(exported, observed=(*exported.observed, *further))
            segment = file_segment(exported, file.name, file.names, out, fold=fold)
            known |= {spec.name: spec for spec in segment.outputs}
            yield segment

    def _declared_outputs(self) -> Iterator[TensorSpec]:
        for host in self._host:
            for name, tensor in host.outputs.items():
                if tensor.shape is not None:
                    yield declared_spec(host, name, tensor.shape, tensor.dtype)

    def _file_model(self, file: _File, known: Mapping[str, TensorSpec]) -> ModelRecipe:
        """A recipe of this file alone, whose inputs have the sizes of what they are wired to."""
        inputs: dict[str, InputRecipe] = {}
        ranges = dict(self._model.dynamic)
        for name, value in file.inputs.items():
            if name in known and name not in self.recipe.inputs:
                _check_wire(file, known[name], value)
                sizes = known[name].dims
                ranges |= {
                    dim.name: {
                        "min": dim.min,
                        "opt": dim.opt,
                        "max": dim.max,
                        "multiple": dim.multiple,
                    }
                    for dim in sizes
                    if isinstance(dim, Dynamic)
                }
                shape = [dim.name if isinstance(dim, Dynamic) else dim for dim in sizes]
                inputs[value.name] = InputRecipe(shape, dtype_of(value))
            else:
                inputs[value.name] = _input_recipe(self._model, name, value)
        return replace(self._model, file=str(file.path), files={}, inputs=inputs, dynamic=ranges)


def _chain_inputs(files: Sequence[_File], hosts: Sequence[HostRecipe]) -> set[str]:
    """The tensors that files take and nothing gives; what a called file takes, its caller gives."""
    called = {name for host in hosts for name in host.calls}
    taken = {name for file in files if file.name not in called for name in file.inputs}
    produced = {name for file in files for name in file.outputs.values()}
    return taken - produced - {name for host in hosts for name in host.outputs}


def _read_files(model: ModelRecipe) -> Iterator[_File]:
    for name, recipe in model.files.items():
        path = Path(recipe.file).expanduser()
        graph = read_without_weights(path).graph
        check_input_types(graph, path)
        _check_output_types(name, graph, path)
        weights = {tensor.name for tensor in graph.initializer}
        inputs = {value.name: value for value in graph.input if value.name not in weights}
        outputs = [value.name for value in graph.output]
        _check_names(name, recipe, inputs, outputs)
        renamed = {recipe.inputs.get(key, key): value for key, value in inputs.items()}
        if len(renamed) < len(inputs):
            raise RecipeError(
                f"model.files.{name}.inputs", expected="names of their own", got=", ".join(renamed)
            )
        yield _File(name, path, renamed, {key: recipe.outputs.get(key, key) for key in outputs})


def _check_output_types(name: str, graph: onnx.GraphProto, path: Path) -> None:
    for value in graph.output:
        if other := other_type(value):
            raise RecipeError(
                f"output '{value.name}' of file '{name}'",
                expected="a tensor of numbers",
                got=other,
                do=how_to_save_before(graph, str(path)),
            )


def _check_names(
    name: str, recipe: FileRecipe, inputs: Mapping[str, object], outputs: list[str]
) -> None:
    for key, names, known in (
        ("inputs", recipe.inputs, list(inputs)),
        ("outputs", recipe.outputs, outputs),
    ):
        for tensor in names:
            if tensor not in known:
                raise RecipeError(
                    f"model.files.{name}.{key}",
                    expected=f"names of the file's {key} ({', '.join(known)})",
                    got=tensor,
                    do="Write {NAME IN THE FILE: NAME IN THE CHAIN}.",
                )


def _check_order(files: list[_File]) -> None:
    for number, file in enumerate(files):
        for later in files[number:]:
            if wired := sorted(file.inputs.keys() & set(later.outputs.values())):
                raise RecipeError(
                    f"file '{file.name}' takes '{wired[0]}'",
                    expected="what an earlier file gives",
                    got=f"an output of '{later.name}'",
                    do="List the files in the order of the data flow, or rename the tensor.",
                )


def _check_shared_inputs(files: list[_File]) -> None:
    """Refuse two inputs of one name that cannot be one tensor."""
    first: dict[str, tuple[str, str]] = {}
    for file in files:
        for name, value in file.inputs.items():
            other, spec = first.setdefault(name, (file.name, _describe(value)))
            if _describe(value) != spec:
                raise RecipeError(
                    f"two inputs are called '{name}'",
                    expected="one tensor",
                    got=f"{spec} of file '{other}' and {_describe(value)} of file '{file.name}'",
                    do=f"Rename one: model.files.{file.name}.inputs={{{value.name}: NAME}}.",
                )


def _describe(value: onnx.ValueInfoProto) -> str:
    """Dtype and sizes as the file has them, such as ``float32[any, 16]``."""
    sizes = _file_sizes(value)
    listed = "..." if sizes is None else ", ".join(str(size or "any") for size in sizes)
    return f"{dtype_of(value)}[{listed}]"


def _file_sizes(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """The sizes, None for an open one; None for an unknown rank."""
    tensor = value.type.tensor_type
    return [fixed_size(dim) for dim in tensor.shape.dim] if tensor.HasField("shape") else None


def _input_recipe(model: ModelRecipe, name: str, value: onnx.ValueInfoProto) -> InputRecipe:
    """The sizes of a file's input, from the recipe where it has this name of the chain."""
    inputs = {value.name: model.inputs[name]} if name in model.inputs else {}
    return input_recipe(replace(model, inputs=inputs), value)


def _spec(name: str, recipe: InputRecipe, ranges: Mapping[str, Dynamic]) -> TensorSpec:
    sizes = (ranges[size] if isinstance(size, str) else size for size in recipe.shape)
    return TensorSpec(name, recipe.dtype, tuple(sizes))


def _check_wire(file: _File, spec: TensorSpec, value: onnx.ValueInfoProto) -> None:
    """Compare a tensor of the chain with the input that it is wired to.

    Raises:
        RecipeError: they differ in dtype, rank or a size that the file fixes.
    """
    sizes = _file_sizes(value)
    fits = sizes is None or (
        len(sizes) == len(spec.dims)
        and all(size in (None, dim) for size, dim in zip(sizes, spec.dims, strict=True))
    )
    if spec.dtype != dtype_of(value) or not fits:
        raise RecipeError(
            f"file '{file.name}' takes '{spec.name}'",
            expected=_describe(value),
            got=f"{spec}, as an earlier step gives it",
            do="Put a host step between them that converts it, or wire other names.",
        )
