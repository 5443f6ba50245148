"""One call of the model in PyTorch before its export, which refuses what it shows to be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from backends.contract import Tensors
from deploy.export.torch_source import TorchSource
from deploy.graph.points import MarkedTensor, PointError, parse_point
from deploy.partition.cut_points import unknown_mark
from deploy.partition.host_steps import check_post_inputs
from deploy.pipeline.agreement import check_reference
from deploy.recipe.schema import PartitionRecipe, Recipe
from deploy.recipe.tolerances import check_tolerances, recipe_rule


def check_first_forward(recipe: Recipe, source: TorchSource, inputs: Tensors) -> None:
    """Refuse marks that the model does not have; of a model that is not cut, its outputs too.

    Args:
        recipe: of the run.
        source: the model.
        inputs: a sample of each input.

    Raises:
        DeployError: ``forward`` fails, a cut is at an unknown mark, an output has a NaN, or a
            tolerance or the post-processing names an output that there is not.
    """
    values = source.values(inputs, rewritten=False)
    partition = recipe.partition
    _check_marks(partition, source, inputs, values)
    if partition.segments or partition.cuts or partition.host:
        return
    outputs = {
        name: value for name, value in values.items() if ":" not in name and name not in inputs
    }
    check_reference(outputs, "PyTorch")
    check_tolerances(recipe_rule(recipe.verify), [*inputs, *outputs])
    for post in recipe.model.post:
        if not post.border:  # else it may be of a chain that ends elsewhere
            check_post_inputs(post, [*outputs])


def _check_marks(
    partition: PartitionRecipe, source: TorchSource, inputs: Tensors, values: Tensors
) -> None:
    known = _marked_tensors(values)
    for where, text in _points(partition, values):
        try:
            point = parse_point(text)
        except PointError:  # the partition says where it stands, and what there is
            continue
        if point.mark in {tensor.mark for tensor in known}:
            continue
        known += _marked_tensors(source.values(inputs, rewritten=True))  # a rewrite may have marks
        if point.mark not in {tensor.mark for tensor in known}:
            raise unknown_mark(where, text, known)


def _marked_tensors(values: Tensors) -> list[MarkedTensor]:
    points = [parse_point(name) for name in values if ":" in name]
    return [MarkedTensor(point.mark, point.call, point.side, point.path) for point in points]


def _points(partition: PartitionRecipe, values: Tensors) -> Iterator[tuple[str, str]]:
    """Where each point stands, and the point; names of inputs and outputs are none."""
    places = [
        (f"{side} of segment '{segment.name}'", points)
        for segment in partition.segments
        for side, points in (("start", segment.start), ("end", segment.end))
    ]
    places += [(f"cut at [{', '.join(points)}]", points) for points in partition.across]
    for where, points in places:
        for point in points:
            if ":" in point:
                yield where, point
            elif point not in values and where.startswith("cut"):
                yield where, f"{point}:output"
