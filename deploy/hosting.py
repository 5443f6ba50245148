"""The host steps of a recipe, wired to its segments by the names of tensors."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from backends.contract import Dim, Segment, Specs, TensorSpec
from deploy.fitting import check_taken
from deploy.recipe import HostRecipe, HostTensorRecipe, RecipeError
from deploy.runtime.host import HostStep
from deploy.shapes import span
from deploy.stepchecks import check_makers

_SHOWN = 5  # places in an error where none has the mark that was named


def host_steps(
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
    check_makers(_makers(segments, asked))
    called = {name for host in asked for name in host.calls}
    for host, outputs in zip(asked, made, strict=True):
        for segment in segments:
            check_taken(host.name, outputs, segment, sizes=segment.name not in called)
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


def host_points(
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
            yield span(where, size, host.dynamic[size], 0)
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
