"""What can be refused of a chain's steps, segments and host steps, before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deploy.recipe import ALL, HostRecipe, PartitionRecipe, Recipe, RecipeError
from deploy.runtime.host_steps import factory

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
    check_makers(_makers(recipe.partition))


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


def check_makers(makers: Iterable[tuple[str, str]]) -> None:
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
    factory(host.name, host.id)
    if not host.outputs:
        raise RecipeError(
            f"partition.host.{host.name}.outputs",
            expected="at least one tensor, such as {boxes: {shape: [found, 4]}}",
            got="none",
        )


def _makers(partition: PartitionRecipe) -> Iterator[tuple[str, str]]:
    for cut in partition.segments:
        yield from ((name, f"segment '{cut.name}'") for name in cut.outputs or ())
    for host in partition.host:
        yield from ((name, f"host step '{host.name}'") for name in host.outputs)
