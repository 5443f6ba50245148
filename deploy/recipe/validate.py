"""Checks of a recipe before any stage runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from backends.bounds import Name
from backends.codec import FormatError, read_value
from backends.json_limits import check_json
from backends.options import other_device, parse_options
from backends.registry import about, check_libraries, options_type
from deploy.recipe.automatic import check_automatic
from deploy.recipe.device_rules import check_devices
from deploy.recipe.dynamic_shapes import check_dynamic, varying_inputs
from deploy.recipe.preprocessing import preprocessing
from deploy.recipe.schema import (
    ALL,
    MODEL_DTYPES,
    BackendRecipe,
    HostRecipe,
    InputRecipe,
    ModelRecipe,
    PartitionRecipe,
    Recipe,
    RecipeError,
)
from deploy.recipe.state import check_state, state_pairs
from deploy.recipe.tolerances import recipe_rule
from deploy.runtime.bundle.manifest import Classes
from deploy.runtime.execution.host_steps import host_arguments
from deploy.runtime.execution.own_posts import register_target
from deploy.runtime.execution.post_steps import check_post
from deploy.runtime.execution.text_front_ends import check_text_front_end
from deploy.runtime.vision.pre import PictureValue

_INPUT_DTYPES = (
    *("float32", "float64", "float16", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_PRECISIONS = ("fp32", "fp16", "bf16")


def check_recipe(recipe: Recipe) -> None:
    """Check everything but the backends.

    Raises:
        RecipeError: a key has an invalid value; the text names the key and what it takes.
        HostStepError: no code is registered under the id of a host step, or it does not take its
            parameters.
        PostError: likewise of the post-processing.
    """
    _check_source(recipe.model)
    _check_texts(recipe.model)
    _check_inputs(recipe.model)
    check_dynamic(recipe.model)
    check_state(recipe.model)
    _check_partition(recipe.partition)
    check_automatic(recipe)
    _check_steps(recipe)
    _check_pre(recipe)
    _check_post(recipe.model)
    _check_text(recipe.model)
    _check_numbers(recipe)
    check_devices(recipe.device)
    recipe_rule(recipe.verify)


def _check_source(model: ModelRecipe) -> None:
    sources = {"target": model.target, "file": model.file, "files": model.files}
    given = [key for key, value in sources.items() if value]
    if len(given) != 1:
        raise RecipeError(
            "model",
            expected="a target, a file or files",
            got=" and ".join(given) or "none of them",
            do="Pass model.target=package.module:callable, or +model=onnx model.file=FILE.onnx.",
        )
    target_only = {
        "params": model.params,
        "weights": model.weights,
        "dtype": model.dtype,
        "marks": model.marks,
        "rewrites": model.rewrites,
    }
    for key, value in target_only.items() if model.is_onnx else ():
        if value:
            raise RecipeError(f"model.{key} does nothing for an ONNX file", do="Leave it out.")
    if model.dtype is not None and model.dtype not in MODEL_DTYPES:
        raise RecipeError("model.dtype", expected=", ".join(MODEL_DTYPES), got=repr(model.dtype))
    for name, mark in model.marks.items():
        if mark.at not in ("input", "output", "both"):
            raise RecipeError(
                f"model.marks.{name}.at", expected="input, output or both", got=mark.at
            )


def _check_post(model: ModelRecipe) -> None:
    for post in model.post:
        if not post.id:
            raise RecipeError(
                "model.post",
                expected="an id, or a target of your own",
                got="neither",
                do="Write model.post=classify, or model.post={target: my_post:decode}.",
            )
        if post.target is not None:
            register_target(post.target, post.id)
        check_post(post.id, post.params)


def _check_text(model: ModelRecipe) -> None:
    if model.text is None:
        return
    if model.pre is not None:
        raise RecipeError(
            "model.text",
            expected="a model of text or of pictures",
            got="model.pre too",
            do="Pass model.pre=null.",
        )
    check_text_front_end(model.text.id, model.text.params)


def _check_texts(model: ModelRecipe) -> None:
    """Check what goes into the manifest as it is, and against the same bounds."""
    for key, kind, value in (("name", Name, model.name), ("classes", Classes, model.classes)):
        try:
            check_json(value, f"model.{key}")
            read_value(kind, value, f"model.{key}")
        except FormatError as error:
            raise RecipeError(str(error)) from error


def _check_inputs(model: ModelRecipe) -> None:
    if not model.inputs and not model.is_onnx:
        raise RecipeError(
            "model.inputs",
            expected="at least one input",
            got="none",
            do="Pass model.inputs='{image: {shape: [1, 3, 224, 224], dtype: float32}}'.",
        )
    for name, spec in model.inputs.items():
        _check_range(name, spec)
        if spec.value is not None and not model.is_onnx:
            raise RecipeError(
                f"model.inputs.{name}.value does nothing for a model in Python",
                do="Leave the input out, and make the value a default of forward, or one of "
                "model.params.",
            )
        if not model.is_onnx:
            _check_dtype(name, spec.dtype)
        for size in spec.shape:
            if not (isinstance(size, str) and size) and not (isinstance(size, int) and size >= 1):
                raise RecipeError(
                    f"model.inputs.{name}.shape",
                    expected="sizes from 1 up, and names of model.dynamic",
                    got=str(spec.shape),
                )


def _check_dtype(name: str, dtype: str) -> None:
    """Refuse a dtype that an input of PyTorch code cannot have outside PyTorch."""
    if dtype in _INPUT_DTYPES:
        return
    do = f"Did you mean {' or '.join(near)}?" if (near := _similar(dtype, _INPUT_DTYPES)) else ""
    if dtype.startswith("complex"):
        do = "Take real and imaginary part in a last axis of 2: torch.view_as_complex in forward."
    elif dtype.startswith(("bfloat16", "float8")):
        do = "Take float32, and pass model.dtype=float32 if the model has another dtype."
    raise RecipeError(
        f"model.inputs.{name}.dtype", expected=", ".join(_INPUT_DTYPES), got=dtype, do=do
    )


def _similar(text: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(text, known, n=2)


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
        listed = [points] if isinstance(points, str) else points
        if not (isinstance(listed, list) and listed and all(isinstance(p, str) for p in listed)):
            raise RecipeError(
                f"partition.cuts.{number}",
                expected="a mark, a point, or a list of them",
                got=repr(points),
            )


def check_backends(recipe: Recipe) -> None:
    """Check that each backend supports its precision and can convert where it has to.

    Loads no engine.

    Raises:
        RecipeError: a backend cannot; the text names it and its choices.
        UnknownBackendError: there is no backend of this name.
    """
    names = segment_names(recipe.partition)
    used = recipe.backends
    if recipe.partition.segments or recipe.partition.cuts:
        used = [backend for name in names for backend in recipe.backends_of(name)]
    if recipe.partition.auto is not None:
        used = [*recipe.partition.prefer, *recipe.chain.values()]
    for backend in used:
        _check_precision(backend)
        _check_build(backend, recipe)
    for name in names:
        _check_alternatives(name, recipe.backends_of(name))
    if recipe.model.is_onnx and recipe.model.reference is not None:
        check_libraries(recipe.model.reference.name, runs=True)


def _check_alternatives(segment: str, backends: Sequence[BackendRecipe]) -> None:
    kinds = [_kind(backend) for backend in backends]
    if double := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise RecipeError(
            f"backends of segment '{segment}'",
            expected="each on a device in a precision once",
            got=f"{double} twice",
        )
    if len(backends) > 1 and any(backend.cast.io for backend in backends):
        raise RecipeError(
            f"cast.io with several backends for segment '{segment}'",
            expected="one backend and precision, or cast.io=false",
            got=", ".join(kinds),
            do="All of them need the same inputs and outputs.",
        )


def _kind(backend: BackendRecipe) -> str:
    device = other_device(backend.options)
    return f"{backend.name}{f' on {device}' if device else ''} in {backend.precision}"


def _check_precision(backend: BackendRecipe) -> None:
    by_options = about(backend.name).precisions
    supported = _PRECISIONS if by_options is None else ("fp32", *by_options)
    if backend.precision not in supported:
        raise RecipeError(
            f"precision of {backend.name}", expected=" or ".join(supported), got=backend.precision
        )
    if backend.cast.io and backend.precision == "bf16":
        raise RecipeError("cast.io with bf16", expected="fp16, since NumPy has no bf16", got="bf16")


def _check_build(backend: BackendRecipe, recipe: Recipe) -> None:
    description = about(backend.name)
    if backend.build not in ("desk", "device"):
        raise RecipeError(
            f"build of {backend.name}", expected="desk or device", got=repr(backend.build)
        )
    if backend.build == "device":
        if not description.builds_on_device:
            raise RecipeError(
                f"build=device for {backend.name}",
                expected="desk",
                got="device",
                do="The files that the desk writes run on any device.",
            )
        if recipe.verify.eval and not recipe.device:
            raise RecipeError(
                "verify.eval=true with build=device",
                do="The desk has no engine to evaluate: leave one of them out, or add a device.",
            )
    elif reason := description.conversion_obstacle():
        advice = (
            "Pass backend.build=device: the bundle then carries the segments, and "
            "python -m deploy.runtime build BUNDLE builds them on the device."
        )
        raise RecipeError(
            f"{backend.name} cannot convert here: {reason}",
            do=advice if description.builds_on_device else "",
        )
    if backend.build == "desk":
        check_libraries(backend.name, runs=not _run_obstacle(backend))
    wants_scores = recipe.verify.eval and not recipe.device
    if backend.build == "desk" and wants_scores and (reason := _run_obstacle(backend)):
        raise RecipeError(
            f"verify.eval=true with {backend.name}: this machine cannot run its engines: {reason}",
            do="Leave verify.eval out; evaluate the bundle on the device.",
        )


def _run_obstacle(backend: BackendRecipe) -> str:
    options = parse_options(options_type(backend.name), backend.options, backend.name)
    return about(backend.name).run_obstacle(options)


def _check_pre(recipe: Recipe) -> None:
    model, partition = recipe.model, recipe.partition
    if model.pre is None:
        return
    pre = preprocessing(model, model.pre)
    others = varying_inputs(model).keys() - {pre.input, *pre.values, *state_pairs(model)}
    if others and not partition.segments:
        name = min(others)
        fixed = f", or model.inputs.{name}.value=VALUE if it never changes" if model.is_onnx else ""
        raise RecipeError(
            f"model.pre: the model takes '{name}' beside the picture '{pre.input}'",
            expected="its values in model.pre.values",
            got="none",
            do=f"Pass 'model.pre.values={{{name}: [NUMBER or NAME, ...]}}', with names of "
            f"{', '.join(get_args(PictureValue))}{fixed}.",
        )


def _check_numbers(recipe: Recipe) -> None:
    numbers = {
        "convert.timeout": (recipe.convert.timeout > 0, recipe.convert.timeout),
        "convert.memory_gib": (recipe.convert.memory_gib >= 0, recipe.convert.memory_gib),
        "convert.file_gib": (recipe.convert.file_gib > 0, recipe.convert.file_gib),
        "verify.images": (recipe.verify.images >= 1, recipe.verify.images),
        "verify.min_matched": (0 <= recipe.verify.min_matched <= 1, recipe.verify.min_matched),
        "bench.runs": (recipe.bench.runs >= 0, recipe.bench.runs),
        "bench.rounds": (recipe.bench.rounds >= 0, recipe.bench.rounds),
        "bench.seconds": (recipe.bench.seconds > 0, recipe.bench.seconds),
        "cache_gib": (recipe.cache_gib > 0, recipe.cache_gib),
    }
    for key, (valid, value) in numbers.items():
        if not valid:
            raise RecipeError(key, expected="a number in its range", got=str(value))


_RESERVED = ("decode", "pre", "chain", "post", "total")  # the other rows of a latency table


def _check_steps(recipe: Recipe) -> None:
    """Check the names of segments and host steps, and the tensors that they declare."""
    segments = segment_names(recipe.partition)
    _check_names([*segments, *(host.name for host in recipe.partition.host)])
    check_segments(recipe, segments)
    for host in recipe.partition.host:
        _check_host(host)
    check_unique_producers(_declared_producers(recipe.partition))


def segment_names(partition: PartitionRecipe) -> list[str]:
    """The segments that a backend can be chosen for, as far as known before cutting."""
    if partition.cuts:
        return [f"part{number}" for number in range(len(partition.cuts) + 1)]
    return [segment.name for segment in partition.segments] or ["model"]


def check_segments(recipe: Recipe, segments: Sequence[str]) -> None:
    """Check that the segments that the recipe chooses backends for, or calls, exist.

    Args:
        recipe: the recipe.
        segments: the names of all segments.

    Raises:
        RecipeError: one does not exist; the text names the key.
    """
    references = [(f"chain.{name}", name) for name in recipe.chain]
    references += [
        ("also", alternative.segment) for alternative in recipe.also if alternative.segment != ALL
    ]
    for host in recipe.partition.host:
        references += [(f"partition.host.{host.name}.calls", name) for name in host.calls]
    for key, name in references:
        if name not in segments:
            raise RecipeError(key, expected=f"one of the segments {', '.join(segments)}", got=name)


def check_unique_producers(producers: Iterable[tuple[str, str]]) -> None:
    """Check that no two steps produce one tensor.

    Args:
        producers: each tensor, and the step that produces it.

    Raises:
        RecipeError: two steps do; the text names the tensor and both.
    """
    known: dict[str, str] = {}
    for tensor, producer in producers:
        if tensor in known:
            raise RecipeError(
                f"tensor '{tensor}' is produced twice",
                expected="one step that produces it",
                got=f"{known[tensor]} and {producer}",
                do="Rename it in the outputs of one of them.",
            )
        known[tensor] = producer


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name in _RESERVED:
            raise RecipeError(
                f"step '{name}'", expected="another name", got="a reserved row of the latency table"
            )
        if names.count(name) > 1:
            raise RecipeError(f"two steps are called '{name}'", do="Rename one of them.")


def _check_host(host: HostRecipe) -> None:
    host_arguments(host.name, host.id, host.params, bool(host.calls))
    if not host.outputs:
        raise RecipeError(
            f"partition.host.{host.name}.outputs",
            expected="at least one tensor, such as {boxes: {shape: [found, 4]}}",
            got="none",
        )


def _declared_producers(partition: PartitionRecipe) -> Iterator[tuple[str, str]]:
    for segment in partition.segments:
        yield from ((name, f"segment '{segment.name}'") for name in segment.outputs or ())
    for host in partition.host:
        yield from ((name, f"host step '{host.name}'") for name in host.outputs)
