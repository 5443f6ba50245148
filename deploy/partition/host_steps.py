"""Host steps of a recipe, connected to the segments and checked against their interfaces."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from backends.contract import Dim, Dynamic, EngineError, Segment, Specs, TensorSpec
from deploy.recipe.dynamic_shapes import parse_range
from deploy.recipe.schema import HostRecipe, HostTensorRecipe, RecipeError
from deploy.recipe.validate import check_unique_producers
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.empty_batch import empty_outputs

_SHOWN = 5  # places in an error where none has the mark that was named


def resolve_host_steps(
    asked: Sequence[HostRecipe], segments: Sequence[Segment], inputs: Specs
) -> tuple[HostStep, ...]:
    """The host steps with the specs of all that they take and give.

    Args:
        asked: as the recipe has them.
        segments: of the chain.
        inputs: of the model.

    Raises:
        RecipeError: a step takes a tensor that there is not, or gives one that another step
            gives, or that is not as a segment behind it takes it.
    """
    taken = [spec for one in segments for spec in one.inputs]
    made = [_outputs(host, {spec.name: spec for spec in taken}) for host in asked]
    check_unique_producers(_makers(segments, asked))
    called = {name for host in asked for name in host.calls}
    for host, outputs in zip(asked, made, strict=True):
        for segment in segments:
            check_interface(host.name, outputs, segment, sizes=segment.name not in called)
    given = [spec for one in segments for spec in one.outputs]
    known = {spec.name: spec for spec in (*inputs, *taken, *given, *sum(made, ()))}
    return tuple(
        HostStep(
            host.name,
            host.id,
            _known(host, known),
            outputs,
            dict(host.params),
            tuple(host.calls),
        )
        for host, outputs in zip(asked, made, strict=True)
    )


def host_step_points(
    asked: Sequence[HostRecipe], places: Sequence[str], *, no_others: bool = False
) -> dict[str, str]:
    """The tensors of host steps of which the model has a value of its own, and where.

    Args:
        asked: as the recipe has them.
        places: where the export came by.
        no_others: whether the model has no value elsewhere; one that runs on the host what its
            export leaves out has.

    Raises:
        RecipeError: a step names no tensor there, or several.
    """
    return {
        name: _place(host, name, tensor.at, places, no_others)
        for host in asked
        for name, tensor in host.outputs.items()
        if tensor.at is not None
    }


def _place(host: HostRecipe, name: str, point: str, places: Sequence[str], no_others: bool) -> str:
    below = [place for place in places if place.startswith(f"{point}.")]
    if point in places or len(below) == 1:
        return point if point in places else below[0]
    of_mark = [place for place in places if place.startswith(f"{point.partition(':')[0]}:")]
    if not of_mark and not no_others:
        return point
    near = difflib.get_close_matches(point, places, n=_SHOWN, cutoff=0.5)
    raise RecipeError(
        f"'{name}' of host step '{host.name}' at '{point}'",
        expected=f"one of {', '.join(below or of_mark or near or places[:_SHOWN])}",
        got=f"a point with {len(below)} tensors" if below else "no tensor of the model",
    )


def _makers(segments: Sequence[Segment], asked: Sequence[HostRecipe]) -> Iterator[tuple[str, str]]:
    for segment in segments:
        yield from ((spec.name, f"segment '{segment.name}'") for spec in segment.outputs)
    for host in asked:
        yield from ((name, f"host step '{host.name}'") for name in host.outputs)


def _outputs(host: HostRecipe, taken: Mapping[str, TensorSpec]) -> Specs:
    return tuple(_output(host, name, tensor, taken) for name, tensor in host.outputs.items())


def _output(
    host: HostRecipe, name: str, tensor: HostTensorRecipe, taken: Mapping[str, TensorSpec]
) -> TensorSpec:
    if tensor.shape is not None:
        return TensorSpec(name, tensor.dtype, tuple(_dims(host, name, tensor.shape)))
    if name not in taken:
        raise RecipeError(
            f"'{name}', which host step '{host.name}' gives",
            expected="a shape, for no segment takes it",
            got="none",
            do=f"Pass outputs: {{{name}: {{shape: [...]}}}}.",
        )
    return taken[name]


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


def _known(host: HostRecipe, known: Mapping[str, TensorSpec]) -> Specs:
    for name in host.inputs:
        if name not in known:
            raise RecipeError(
                f"host step '{host.name}' takes '{name}'",
                expected=f"one of {', '.join(known)}",
                got=repr(name),
            )
    return tuple(known[name] for name in host.inputs)


def check_interface(step: str, outputs: Specs, segment: Segment, *, sizes: bool) -> None:
    """Refuse what would break only at run time, and there perhaps in rare calls alone.

    Args:
        step: the host step's name.
        outputs: what it gives.
        segment: a segment of the chain.
        sizes: whether the chain runs it; where a host step does, the sizes are that step's.

    Raises:
        RecipeError: the segment takes a tensor in another dtype, of another rank or of fewer
            sizes, or gives an unknown size where there are no rows.
    """
    given = {spec.name: spec for spec in outputs}
    for takes in segment.inputs:
        gives = given.get(takes.name)
        if gives is None:
            continue
        _check_kind(step, gives, segment, takes)
        if sizes:
            for axis in range(len(takes.dims)):
                _check_axis(step, gives, segment, takes, axis)


def _check_kind(step: str, gives: TensorSpec, segment: Segment, takes: TensorSpec) -> None:
    of_rank = takes.shape is None or len(takes.dims) == len(gives.dims)
    if gives.dtype != takes.dtype or not of_rank:
        raise RecipeError(
            f"'{gives.name}', which host step '{step}' gives",
            expected=f"{takes}, as segment '{segment.name}' takes it",
            got=str(gives),
        )


def _check_axis(
    step: str, gives: TensorSpec, segment: Segment, takes: TensorSpec, axis: int
) -> None:
    dim, of = takes.dims[axis], _bounds(gives.dims[axis])
    low, _, high = _bounds(dim)
    where = f"axis {axis} of '{gives.name}', which host step '{step}' gives"
    if of[0] < low or of[2] > high:
        raise RecipeError(
            where,
            expected=f"{_describe_dim(takes.dims[axis])}, as segment '{segment.name}' takes it",
            got=_describe_dim(gives.dims[axis]),
            do=f"Make them agree: dynamic: {{{gives.name}: {{{axis}: {of}}}}} of the segment, "
            "and dynamic of the host step.",
        )
    if of[0] == 0 and isinstance(dim, Dynamic):
        _check_none(where, segment, dim)


def _check_none(where: str, segment: Segment, rows: Dynamic) -> None:
    """An engine is not called for no rows: what it would give must follow from its specs."""
    shapes = {spec.name: tuple(_without(dim, rows) for dim in spec.dims) for spec in segment.inputs}
    try:
        empty_outputs(segment, shapes)
    except EngineError as error:
        given = ", ".join(f"{spec.name} {spec}" for spec in segment.outputs)
        raise RecipeError(
            where,
            expected=f"1 or more: how much segment '{segment.name}' gives of none is not known "
            f"({given})",
            got="0 too",
            do="Let the host step give a row where it finds none, and its dynamic begin at 1.",
        ) from error


def _without(dim: Dim, rows: Dynamic) -> int:
    if isinstance(dim, Dynamic):
        return 0 if dim.name == rows.name else max(dim.opt, 1)
    return dim


def _bounds(dim: Dim) -> list[int]:
    return [dim.min, dim.opt, dim.max] if isinstance(dim, Dynamic) else [dim] * 3


def _describe_dim(dim: Dim) -> str:
    return f"{dim.min} to {dim.max}" if isinstance(dim, Dynamic) else str(dim)
