"""Whether backends can take the inputs of the model, as far as is known before an export."""

from __future__ import annotations

from backends.contract import Specs, TensorSpec
from backends.registry import about
from deploy.recipe.dynamic_shapes import dynamic_axes, varying_inputs
from deploy.recipe.schema import ModelRecipe, Recipe, RecipeError
from deploy.recipe.validate import segment_names


def check_model_inputs(recipe: Recipe) -> None:
    """Refuse a backend that by its nature cannot take the inputs of the model.

    A segment that surely takes them is refused here, before the export; others when they are
    converted.

    Args:
        recipe: checked, with all inputs.

    Raises:
        RecipeError: naming the backend and the input.
    """
    specs, partition = _input_specs(recipe.model), recipe.partition
    if partition.auto is not None:
        return  # another engine gets what takes them
    names = segment_names(partition)
    reasons = [_input_obstacle(recipe, name, specs) for name in names]
    takes_all = len(specs) == 1 or not partition.segments
    if takes_all and not partition.host and all(reasons):
        raise reasons[0] or AssertionError("one segment or more")
    for segment in partition.segments:
        named = tuple(spec for spec in specs if spec.name in segment.start)
        if reason := _input_obstacle(recipe, segment.name, named):
            raise reason


def _input_specs(model: ModelRecipe) -> Specs:
    axes = dynamic_axes(model)
    return tuple(
        TensorSpec(
            name,
            spec.dtype,
            tuple(axes[name].get(axis, size) for axis, size in enumerate(spec.shape)),
        )
        for name, spec in varying_inputs(model).items()
    )


def _input_obstacle(recipe: Recipe, segment: str, inputs: Specs) -> RecipeError | None:
    for backend in recipe.backends_of(segment):
        if reason := about(backend.name).border_obstacle(inputs, ()):
            return RecipeError(
                f"{backend.name} cannot take what goes into segment '{segment}': {reason}",
                do="Choose another backend, or change model.inputs or model.dynamic.",
            )
    return None
