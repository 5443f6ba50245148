"""The host steps of a recipe, wired to its segments by the names of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.contract import Dim, Segment, Specs, TensorSpec
from deploy.recipe import HostRecipe, HostTensorRecipe, RecipeError
from deploy.runtime.host import HostStep
from deploy.shapes import span


def host_steps(
    asked: Sequence[HostRecipe], segments: Sequence[Segment], inputs: Specs
) -> tuple[HostStep, ...]:
    """The host steps with the specs of all that they take and give.

    Args:
        asked: as the recipe has them.
        segments: of the chain.
        inputs: of the model.

    Raises:
        RecipeError: a step takes a tensor or calls a segment that there is not, or its outputs
            are not as the segments behind it take them.
    """
    made = [_outputs(host) for host in asked]
    taken = {spec.name: spec for one in segments for spec in one.inputs}
    for host, outputs in zip(asked, made, strict=True):
        _check_outputs(host, outputs, taken)
        _check_calls(host, [segment.name for segment in segments])
    given = [spec for one in segments for spec in one.outputs]
    known = {spec.name: spec for spec in (*inputs, *taken.values(), *given, *sum(made, ()))}
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


def host_points(asked: Sequence[HostRecipe]) -> dict[str, str]:
    """The tensors of host steps of which the model has a value of its own, and where."""
    return {
        name: tensor.at
        for host in asked
        for name, tensor in host.outputs.items()
        if tensor.at is not None
    }


def _outputs(host: HostRecipe) -> Specs:
    return tuple(
        TensorSpec(
            name, tensor.dtype, tuple(_dim(host, name, tensor, size) for size in tensor.shape)
        )
        for name, tensor in host.outputs.items()
    )


def _dim(host: HostRecipe, name: str, tensor: HostTensorRecipe, size: object) -> Dim:
    if isinstance(size, int) and size >= 0:
        return size
    if isinstance(size, str) and size in host.dynamic:
        return span(f"dynamic.{size} of host step '{host.name}'", size, host.dynamic[size], 0)
    raise RecipeError(
        f"shape of '{name}', which host step '{host.name}' gives",
        expected=f"sizes, and names of its dynamic ({', '.join(host.dynamic) or 'none'})",
        got=str(tensor.shape),
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


def _check_outputs(host: HostRecipe, outputs: Specs, taken: Mapping[str, TensorSpec]) -> None:
    for spec in outputs:
        other = taken.get(spec.name, spec)
        if spec.dtype != other.dtype or len(spec.dims) != len(other.dims):
            raise RecipeError(
                f"'{spec.name}', which host step '{host.name}' gives",
                expected=f"{other}, as a segment takes it",
                got=str(spec),
            )


def _check_calls(host: HostRecipe, segments: Sequence[str]) -> None:
    for name in host.calls:
        if name not in segments:
            raise RecipeError(
                f"host step '{host.name}' calls '{name}'",
                expected=f"one of the segments {', '.join(segments)}",
                got=repr(name),
            )
