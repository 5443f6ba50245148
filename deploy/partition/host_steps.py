"""Host steps of a recipe, connected to the segments and checked against their interfaces."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from backends.contract import (
    UNBOUNDED,
    Dim,
    Dynamic,
    EngineError,
    Segment,
    Specs,
    TensorSpec,
)
from deploy.recipe.dynamic_shapes import parse_range
from deploy.recipe.schema import HostRecipe, HostTensorRecipe, ModelRecipe, PostRecipe, RecipeError
from deploy.recipe.validate import check_unique_producers
from deploy.runtime.bundle.manifest import HostStep, PostStep
from deploy.runtime.execution.empty_batch import empty_outputs

_SHOWN = 5  # points in an error where none has the mark that was named


def resolve_host_steps(
    hosts: Sequence[HostRecipe], segments: Sequence[Segment], inputs: Specs
) -> tuple[HostStep, ...]:
    """The host steps with the specs of their inputs and outputs.

    Args:
        hosts: as the recipe has them.
        segments: of the chain.
        inputs: of the model.

    Raises:
        RecipeError: a step takes a tensor that does not exist, or gives one that another step
            gives, or that does not fit a segment that takes it.
    """
    segment_inputs = [spec for segment in segments for spec in segment.inputs]
    segment_outputs = [spec for segment in segments for spec in segment.outputs]
    by_name = {spec.name: spec for spec in segment_inputs}
    outputs = [_outputs(host, by_name) for host in hosts]
    check_unique_producers(_producers(segments, hosts))
    called = {name for host in hosts for name in host.calls}
    for host, specs in zip(hosts, outputs, strict=True):
        for segment in segments:
            check_interface(host.name, specs, segment, sizes=segment.name not in called)
    known = (*inputs, *segment_inputs, *segment_outputs, *sum(outputs, ()))
    specs_by_name = {spec.name: spec for spec in known}
    return tuple(
        HostStep(
            host.name,
            host.id,
            _inputs(host, specs_by_name),
            specs,
            dict(host.params),
            tuple(host.calls),
        )
        for host, specs in zip(hosts, outputs, strict=True)
    )


def host_step_points(
    hosts: Sequence[HostRecipe], points: Sequence[str], *, no_others: bool = False
) -> dict[str, str]:
    """The tensors of host steps of which the model has a value of its own, and their points.

    Args:
        hosts: as the recipe has them.
        points: at which the export has a value.
        no_others: whether the model has no value elsewhere. A model that runs on the host what
            its export leaves out has some.

    Raises:
        RecipeError: a step names no tensor there, or several.
    """
    return {
        name: _point(host, name, tensor.at, points, no_others)
        for host in hosts
        for name, tensor in host.outputs.items()
        if tensor.at is not None
    }


def _point(host: HostRecipe, name: str, point: str, points: Sequence[str], no_others: bool) -> str:
    below = [known for known in points if known.startswith(f"{point}.")]
    if point in points or len(below) == 1:
        return point if point in points else below[0]
    of_mark = [known for known in points if known.startswith(f"{point.partition(':')[0]}:")]
    if not of_mark and not no_others:
        return point
    near = difflib.get_close_matches(point, points, n=_SHOWN, cutoff=0.5)
    raise RecipeError(
        f"'{name}' of host step '{host.name}' at '{point}'",
        expected=f"one of {', '.join(below or of_mark or near or points[:_SHOWN])}",
        got=f"a point with {len(below)} tensors" if below else "no tensor of the model",
    )


def _producers(
    segments: Sequence[Segment], hosts: Sequence[HostRecipe]
) -> Iterator[tuple[str, str]]:
    for segment in segments:
        yield from ((spec.name, f"segment '{segment.name}'") for spec in segment.outputs)
    for host in hosts:
        yield from ((name, f"host step '{host.name}'") for name in host.outputs)


def _outputs(host: HostRecipe, segment_inputs: Mapping[str, TensorSpec]) -> Specs:
    return tuple(
        _output(host, name, tensor, segment_inputs) for name, tensor in host.outputs.items()
    )


def _output(
    host: HostRecipe,
    name: str,
    tensor: HostTensorRecipe,
    segment_inputs: Mapping[str, TensorSpec],
) -> TensorSpec:
    if tensor.shape is not None:
        return declared_spec(host, name, tensor.shape, tensor.dtype)
    if name not in segment_inputs:
        raise RecipeError(
            f"'{name}', which host step '{host.name}' gives",
            expected="a shape, for no segment takes it",
            got="none",
            do=f"Pass outputs: {{{name}: {{shape: [...]}}}}.",
        )
    return segment_inputs[name]


def declared_spec(host: HostRecipe, name: str, shape: Sequence[object], dtype: str) -> TensorSpec:
    """The spec of an output that a host step declares.

    Raises:
        RecipeError: a size is no number, and no name of the step's ``dynamic``.
    """
    return TensorSpec(name, dtype, tuple(_dims(host, name, shape)))


def _dims(host: HostRecipe, name: str, shape: Sequence[object]) -> Iterator[Dim]:
    for size in shape:
        if isinstance(size, int) and size >= 0:
            yield size
        elif isinstance(size, str) and size in host.dynamic:
            where = f"dynamic.{size} of host step '{host.name}'"
            yield parse_range(where, size, host.dynamic[size], 0)
        else:
            raise RecipeError(
                f"shape of '{name}', which host step '{host.name}' gives",
                expected=f"sizes, and names of its dynamic ({', '.join(host.dynamic) or 'none'})",
                got=str(list(shape)),
            )


def _inputs(host: HostRecipe, specs_by_name: Mapping[str, TensorSpec]) -> Specs:
    for name in host.inputs:
        if name not in specs_by_name:
            raise RecipeError(
                f"host step '{host.name}' takes '{name}'",
                expected=f"one of {', '.join(specs_by_name)}",
                got=repr(name),
            )
    return tuple(specs_by_name[name] for name in host.inputs)


def check_interface(step: str, outputs: Specs, segment: Segment, *, sizes: bool) -> None:
    """Refuse now what would fail only at run time, and perhaps only in rare calls.

    Args:
        step: the host step's name.
        outputs: what it gives.
        segment: a segment of the chain.
        sizes: whether the chain runs the segment. Where a host step calls it, the sizes are that
            step's concern.

    Raises:
        RecipeError: the segment takes a tensor in another dtype, of another rank or of fewer
            sizes, or its output sizes are unknown where the host step gives no rows.
    """
    by_name = {spec.name: spec for spec in outputs}
    for expected in segment.inputs:
        output = by_name.get(expected.name)
        if output is None:
            continue
        _check_dtype_and_rank(step, output, segment, expected)
        if sizes:
            for axis in range(len(expected.dims)):
                _check_axis(step, output, segment, expected, axis)


def _check_dtype_and_rank(
    step: str, output: TensorSpec, segment: Segment, expected: TensorSpec
) -> None:
    same_rank = expected.shape is None or len(expected.dims) == len(output.dims)
    if output.dtype != expected.dtype or not same_rank:
        raise RecipeError(
            f"'{output.name}', which host step '{step}' gives",
            expected=f"{expected}, as segment '{segment.name}' takes it",
            got=str(output),
        )


def _check_axis(
    step: str, output: TensorSpec, segment: Segment, expected: TensorSpec, axis: int
) -> None:
    dim, sizes = expected.dims[axis], _bounds(output.dims[axis])
    low, _, high = _bounds(dim)
    where = f"axis {axis} of '{output.name}', which host step '{step}' gives"
    if sizes[0] < low or sizes[2] > high or _step(output.dims[axis]) % _multiple(dim):
        raise RecipeError(
            where,
            expected=f"{_describe_dim(dim)}, as segment '{segment.name}' takes it",
            got=_describe_dim(output.dims[axis]),
            do=f"Make them agree: dynamic: {{{output.name}: {{{axis}: {sizes}}}}} of the segment, "
            "and dynamic of the host step.",
        )
    if sizes[0] == 0 and isinstance(dim, Dynamic):
        _check_empty_batch(where, segment, dim)


def _check_empty_batch(where: str, segment: Segment, rows: Dynamic) -> None:
    """No engine runs on no rows, so the output shapes must follow from the specs alone."""
    shapes = {spec.name: tuple(_without(dim, rows) for dim in spec.dims) for spec in segment.inputs}
    try:
        empty_outputs(segment, shapes)
    except EngineError as error:
        outputs = ", ".join(f"{spec.name} {spec}" for spec in segment.outputs)
        raise RecipeError(
            where,
            expected=f"1 or more: how much segment '{segment.name}' gives of none is not known "
            f"({outputs})",
            got="0 too",
            do="Let the host step give a row where it finds none, and its dynamic begin at 1.",
        ) from error


def _without(dim: Dim, rows: Dynamic) -> int:
    if isinstance(dim, Dynamic):
        return 0 if dim.name == rows.name else max(dim.opt, 1)
    return dim


def _bounds(dim: Dim) -> list[int]:
    return [dim.min, dim.opt, dim.max] if isinstance(dim, Dynamic) else [dim] * 3


def _multiple(dim: Dim) -> int:
    return dim.multiple if isinstance(dim, Dynamic) else 1


def _step(dim: Dim) -> int:
    """What each size of a dimension is a multiple of."""
    return dim.multiple if isinstance(dim, Dynamic) else dim


def _describe_dim(dim: Dim) -> str:
    if not isinstance(dim, Dynamic):
        return str(dim)
    highest = "any size" if dim.max >= UNBOUNDED else str(dim.max)
    step = f", a multiple of {dim.multiple}" if dim.multiple > 1 else ""
    return f"{dim.min} to {highest}{step}"


def select_post_step(
    model: ModelRecipe, outputs: Sequence[str], marks: Mapping[str, Sequence[str]]
) -> PostStep | None:
    """The ``post`` step whose border is where the chain ends, if the model has one.

    Args:
        model: its ``post`` entries name the borders.
        outputs: the chain's outputs.
        marks: every mark that each of them is; an output of a host step has its name alone.
    """
    for post in model.post:
        if not post.border or all(
            any(_covers(border, at) for border in post.border for at in marks.get(name, (name,)))
            for name in outputs
        ):
            check_post_inputs(post, outputs)
            return PostStep(post.id, tuple(post.inputs or outputs), post.params)
    return None


def check_post_inputs(post: PostRecipe, outputs: Sequence[str]) -> None:
    """Refuse inputs of a post-processing step that the chain does not give.

    Raises:
        RecipeError: naming one, and those that there are.
    """
    if unknown := [name for name in post.inputs if name not in outputs]:
        raise RecipeError(
            "model.post.inputs",
            expected=f"outputs of the chain: {', '.join(outputs)}",
            got=unknown[0],
        )


def _covers(border: str, point: str) -> bool:
    return f"{point}.".startswith(f"{border}.")
