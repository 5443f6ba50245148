"""What a recipe asks of the partition: its cuts, and the host step behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut
from deploy.partition.segments import Partition, partition
from deploy.recipe.dynamic_shapes import parse_range
from deploy.recipe.schema import ModelRecipe, Recipe, SegmentRecipe
from deploy.recipe.validate import check_segments
from deploy.runtime.bundle.manifest import PostStep


def partition_recipe(recipe: Recipe, exported: Exported, out: Path) -> Partition:
    """Cut a model as the recipe's partition says.

    Raises:
        RecipeError: a backend is chosen for a segment that there is not, or a host step calls one.
        PartitionError: see ``partition``.
    """
    cuts = [_as_cut(segment) for segment in recipe.partition.segments]
    cutting = partition(exported, cuts, out, across=recipe.partition.across)
    # what comes of ``cuts`` is known only now
    check_segments(recipe, [segment.name for segment in cutting.segments])
    return cutting


def _as_cut(segment: SegmentRecipe) -> Cut:
    dynamic = {
        tensor: {
            axis: parse_range(f"dynamic.{tensor}.{axis} of segment '{segment.name}'", "", sizes, 0)
            for axis, sizes in axes.items()
        }
        for tensor, axes in segment.dynamic.items()
    }
    return Cut(segment.name, segment.start, segment.end, segment.outputs, dynamic)


def select_post_step(
    model: ModelRecipe, outputs: Sequence[str], marks: Mapping[str, Sequence[str]]
) -> PostStep | None:
    """The host step whose border is where the chain ends, if the model has one.

    Args:
        model: its ``post`` entries name the borders.
        outputs: the chain's outputs.
        marks: every mark that each of them is; one that a host step makes has its name alone.
    """
    for post in model.post:
        if all(
            any(_covers(border, at) for border in post.border for at in marks.get(name, (name,)))
            for name in outputs
        ):
            return PostStep(post.id, tuple(outputs), post.params)
    return None


def _covers(border: str, point: str) -> bool:
    return f"{point}.".startswith(f"{border}.")
