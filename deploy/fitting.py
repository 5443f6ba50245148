"""What a host step gives, held against what the segments behind it take."""

from __future__ import annotations

from backends.contract import Dim, Dynamic, EngineError, Segment, Specs, TensorSpec
from deploy.recipe import RecipeError
from deploy.runtime.empty import empty_outputs


def check_taken(step: str, outputs: Specs, segment: Segment, *, sizes: bool) -> None:
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
    dim, of = takes.dims[axis], _range(gives.dims[axis])
    low, _, high = _range(dim)
    where = f"axis {axis} of '{gives.name}', which host step '{step}' gives"
    if of[0] < low or of[2] > high:
        raise RecipeError(
            where,
            expected=f"{_said(takes.dims[axis])}, as segment '{segment.name}' takes it",
            got=_said(gives.dims[axis]),
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


def _range(dim: Dim) -> list[int]:
    return [dim.min, dim.opt, dim.max] if isinstance(dim, Dynamic) else [dim] * 3


def _said(dim: Dim) -> str:
    return f"{dim.min} to {dim.max}" if isinstance(dim, Dynamic) else str(dim)
