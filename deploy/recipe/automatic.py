"""The automatic partition of a recipe, checked."""

from __future__ import annotations

from dataclasses import replace

from backends.registry import about
from deploy.recipe.schema import BackendRecipe, Recipe, RecipeError


def check_automatic(recipe: Recipe) -> None:
    """Check what only an automatic partition has.

    Raises:
        RecipeError: a key has an invalid value; the text names the key and what it takes.
    """
    auto, prefer = recipe.partition.auto, recipe.partition.prefer
    if auto is None:
        if prefer:
            raise RecipeError(
                "partition.prefer does nothing without +partition=auto", do="Pass that too."
            )
        return
    if not prefer:
        raise RecipeError(
            "partition.prefer",
            expected="the backends to divide the model between, the preferred first",
            got="none",
            do="Pass partition.prefer=[FIRST,SECOND]; python -m deploy --help lists the backends.",
        )
    names = [engine.name for engine in prefer]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError("partition.prefer", expected="each backend once", got=f"{double} twice")
    if recipe.backend.name not in names:
        raise RecipeError(
            "+backend= with +partition=auto",
            expected=f"one of partition.prefer ({', '.join(names)})",
            got=recipe.backend.name,
            do="Leave it out, or add it to partition.prefer.",
        )
    if recipe.also:
        raise RecipeError(
            "several backends with +partition=auto",
            expected="one backend and precision for each engine of partition.prefer",
            got=", ".join(item.backend.name for item in recipe.also),
            do="Prefer another order in a run of its own.",
        )
    if auto.reference is None:
        raise RecipeError(
            "partition.auto.reference",
            expected="the backend that computes the tensors at the borders",
            got="none",
            do="Pass +partition=auto, which has one.",
        )
    numbers = {
        "min_nodes": (auto.min_nodes, 1),
        "max_segments": (auto.max_segments, 0),
        "min_macs_per_byte": (auto.min_macs_per_byte, 0),
        "tries": (auto.tries, 0),
    }
    for key, (value, least) in numbers.items():
        if not value >= least:
            raise RecipeError(f"partition.auto.{key}", expected=f"{least} or more", got=str(value))


def with_possible_builds(recipe: Recipe) -> Recipe:
    """The recipe with engines built on the device for which this machine cannot convert.

    Only those of ``partition.prefer``: a backend that is named for a segment is refused instead.
    """
    if recipe.partition.auto is None:
        return recipe
    engines = [_built_where_possible(engine) for engine in recipe.partition.prefer]
    return replace(recipe, partition=replace(recipe.partition, prefer=engines))


def _built_where_possible(engine: BackendRecipe) -> BackendRecipe:
    facts = about(engine.name)
    if engine.build == "desk" and facts.builds_on_device and facts.conversion_obstacle():
        return replace(engine, build="device")
    return engine
