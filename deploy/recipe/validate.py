"""What can be refused of a recipe before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backends.registry import about
from deploy.recipe.dynamic_shapes import check_dynamic
from deploy.recipe.schema import (
    ALL,
    BackendRecipe,
    HostRecipe,
    InputRecipe,
    ModelRecipe,
    PartitionRecipe,
    Recipe,
    RecipeError,
)
from deploy.runtime.execution.host_steps import host_factory

_PRECISIONS = ("fp32", "fp16", "bf16")


def check_recipe(recipe: Recipe) -> None:
    """Refuse what no stage could carry out.

    Raises:
        RecipeError: naming the key, what it takes and what it got.
        HostStepError: no code is registered under the id of a host step.
    """
    _check_source(recipe.model)
    _check_inputs(recipe.model)
    check_dynamic(recipe.model)
    _check_partition(recipe.partition)
    check_steps(recipe)
    _check_pre(recipe.model)
    _check_numbers(recipe)


def _check_source(model: ModelRecipe) -> None:
    if (model.target is None) == (model.file is None):
        raise RecipeError(
            "model",
            expected="a target or a file",
            got="none of them" if model.target is None else "both",
            do="Pass model.target=package.module:callable, or +model=onnx model.file=FILE.onnx.",
        )
    of_target = {
        "params": model.params,
        "weights": model.weights,
        "marks": model.marks,
        "rewrites": model.rewrites,
    }
    for key, value in of_target.items() if model.file else ():
        if value:
            raise RecipeError(f"model.{key} does nothing for an ONNX file", do="Leave it out.")
    for name, mark in model.marks.items():
        if mark.at not in ("input", "output", "both"):
            raise RecipeError(
                f"model.marks.{name}.at", expected="input, output or both", got=mark.at
            )


def _check_inputs(model: ModelRecipe) -> None:
    if not model.inputs and model.file is None:
        raise RecipeError(
            "model.inputs",
            expected="at least one input",
            got="none",
            do="Pass model.inputs='{image: {shape: [1, 3, 224, 224], dtype: float32}}'.",
        )
    for name, spec in model.inputs.items():
        _check_range(name, spec)
        for size in spec.shape:
            if not (isinstance(size, str) and size) and not (isinstance(size, int) and size >= 1):
                raise RecipeError(
                    f"model.inputs.{name}.shape",
                    expected="sizes from 1 up, and names of model.dynamic",
                    got=str(spec.shape),
                )


def _check_range(name: str, spec: InputRecipe) -> None:
    if spec.range is not None and (len(spec.range) != 2 or spec.range[0] > spec.range[1]):
        raise RecipeError(
            f"model.inputs.{name}.range",
            expected="the smallest and the largest value",
            got=str(spec.range),
        )


def _check_partition(partition: PartitionRecipe) -> None:
    if partition.segments and partition.cuts:
        raise RecipeError(
            "partition", expected="segments or cuts", got="both", do="Set one of them to []."
        )
    for number, points in enumerate(partition.cuts):
        whole = [points] if isinstance(points, str) else points
        if not (isinstance(whole, list) and whole and all(isinstance(one, str) for one in whole)):
            raise RecipeError(
                f"partition.cuts.{number}",
                expected="a mark, a point, or a list of them",
                got=repr(points),
            )


def check_backends(recipe: Recipe) -> None:
    """Refuse backends that cannot do here what they are asked for; quick, and loads no engine.

    Raises:
        RecipeError: naming the backend and the choices.
        UnknownBackendError: there is none of this name.
    """
    used = recipe.backends
    if recipe.partition.segments or recipe.partition.cuts:
        of_each = {name: recipe.backends_of(name) for name in segment_names(recipe.partition)}
        used = [backend for found in of_each.values() for backend in found]
    for backend in used:
        _check_precision(backend)
        _check_build(backend, recipe)
    for name in segment_names(recipe.partition):
        _check_alternatives(name, recipe.backends_of(name))


def _check_alternatives(segment: str, found: Sequence[BackendRecipe]) -> None:
    kinds = [f"{one.name} in {one.precision}" for one in found]
    if double := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise RecipeError(
            f"backends of segment '{segment}'",
            expected="each in a precision once",
            got=f"{double} twice",
        )
    if len(found) > 1 and any(one.cast.io for one in found):
        raise RecipeError(
            f"cast.io with several backends for segment '{segment}'",
            expected="one backend and precision, or cast.io=false",
            got=", ".join(kinds),
            do="All of them have to take and give the same tensors.",
        )


def _check_precision(backend: BackendRecipe) -> None:
    own = about(backend.name).precisions
    known = _PRECISIONS if own is None else ("fp32", *own)
    if backend.precision not in known:
        raise RecipeError(
            f"precision of {backend.name}", expected=" or ".join(known), got=backend.precision
        )
    if backend.cast.io and backend.precision == "bf16":
        raise RecipeError("cast.io with bf16", expected="fp16, for NumPy has no bf16", got="bf16")


def _check_build(backend: BackendRecipe, recipe: Recipe) -> None:
    facts = about(backend.name)
    if backend.build not in ("desk", "device"):
        raise RecipeError(
            f"build of {backend.name}", expected="desk or device", got=repr(backend.build)
        )
    if backend.build == "device":
        if not facts.builds_on_device:
            raise RecipeError(
                f"build=device for {backend.name}",
                expected="desk",
                got="device",
                do="Its files run on any device as the desk makes them.",
            )
        if recipe.verify.eval:
            raise RecipeError(
                "verify.eval=true with build=device",
                do="No engine is here to evaluate: leave one of them out.",
            )
    elif reason := facts.obstacle():
        offer = (
            "Pass backend.build=device: the bundle then carries the segments, and "
            "python -m deploy.runtime build BUNDLE builds them on the device."
        )
        raise RecipeError(
            f"{backend.name} cannot convert here: {reason}",
            do=offer if facts.builds_on_device else "",
        )


def _check_pre(model: ModelRecipe) -> None:
    if model.pre is None:
        return
    shape = model.inputs[model.pre.input].shape if model.pre.input in model.inputs else []
    if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
        raise RecipeError(
            f"model.pre.input '{model.pre.input}'",
            expected="an input of shape [batch, 3, height, width] with fixed height and width",
            got=str(shape or "no input"),
        )


def _check_numbers(recipe: Recipe) -> None:
    numbers = {
        "convert.timeout": (recipe.convert.timeout > 0, recipe.convert.timeout),
        "convert.memory_gib": (recipe.convert.memory_gib >= 0, recipe.convert.memory_gib),
        "convert.file_gib": (recipe.convert.file_gib > 0, recipe.convert.file_gib),
        "verify.images": (recipe.verify.images >= 1, recipe.verify.images),
        "verify.min_matched": (0 <= recipe.verify.min_matched <= 1, recipe.verify.min_matched),
        "bench.runs": (recipe.bench.runs >= 0, recipe.bench.runs),
        "cache_gib": (recipe.cache_gib > 0, recipe.cache_gib),
    }
    for key, (good, value) in numbers.items():
        if not good:
            raise RecipeError(key, expected="a number in its range", got=str(value))


_RESERVED = ("decode", "pre", "chain", "post", "total")  # the other rows of a latency table


def check_steps(recipe: Recipe) -> None:
    """Refuse steps that could not be one chain.

    Raises:
        RecipeError: naming the key, what it takes and what it got.
        HostStepError: no code is registered under the id of a host step.
    """
    segments = segment_names(recipe.partition)
    _check_names([*segments, *(host.name for host in recipe.partition.host)])
    check_segments(recipe, segments)
    for host in recipe.partition.host:
        _check_host(host)
    check_single_maker(_declared_makers(recipe.partition))


def segment_names(partition: PartitionRecipe) -> list[str]:
    """The segments that a backend can be chosen for."""
    if partition.cuts:
        return [f"part{number}" for number in range(len(partition.cuts) + 1)]
    return [cut.name for cut in partition.segments] or ["model"]


def check_segments(recipe: Recipe, segments: Sequence[str]) -> None:
    """Refuse a recipe that chooses a backend for a segment, or calls one, that there is not.

    Raises:
        RecipeError: by its key.
    """
    named = [(f"chain.{name}", name) for name in recipe.chain]
    named += [("also", further.segment) for further in recipe.also if further.segment != ALL]
    for host in recipe.partition.host:
        named += [(f"partition.host.{host.name}.calls", name) for name in host.calls]
    for key, name in named:
        if name not in segments:
            raise RecipeError(key, expected=f"one of the segments {', '.join(segments)}", got=name)


def check_single_maker(makers: Iterable[tuple[str, str]]) -> None:
    """Refuse two steps that give one tensor.

    Args:
        makers: each tensor, and what gives it.

    Raises:
        RecipeError: naming the tensor and both.
    """
    seen: dict[str, str] = {}
    for tensor, maker in makers:
        if tensor in seen:
            raise RecipeError(
                f"tensor '{tensor}' is given twice",
                expected="one step that gives it",
                got=f"{seen[tensor]} and {maker}",
                do="Give it another name in the outputs of one of them.",
            )
        seen[tensor] = maker


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name in _RESERVED:
            raise RecipeError(f"step '{name}'", expected="another name", got="a name of the report")
        if names.count(name) > 1:
            raise RecipeError(f"two steps are called '{name}'", do="Give them names of their own.")


def _check_host(host: HostRecipe) -> None:
    host_factory(host.name, host.id)
    if not host.outputs:
        raise RecipeError(
            f"partition.host.{host.name}.outputs",
            expected="at least one tensor, such as {boxes: {shape: [found, 4]}}",
            got="none",
        )


def _declared_makers(partition: PartitionRecipe) -> Iterator[tuple[str, str]]:
    for cut in partition.segments:
        yield from ((name, f"segment '{cut.name}'") for name in cut.outputs or ())
    for host in partition.host:
        yield from ((name, f"host step '{host.name}'") for name in host.outputs)
