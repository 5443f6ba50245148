"""Parameters of post-processing that follow from the rest of a recipe."""

from __future__ import annotations

from dataclasses import replace

from deploy.recipe.preprocessing import picture_input
from deploy.recipe.schema import ModelRecipe, PostRecipe
from deploy.runtime.execution.own_posts import register_target
from deploy.runtime.execution.post_steps import takes_parameter

_SIZE = "size"  # of the input tensor, which boxes from 0 to 1 are of
_CHARACTERS = "characters"  # how many there are


def with_known_params(model: ModelRecipe) -> ModelRecipe:
    """The model whose ``post`` steps have what the rest of the recipe knows, where they take it.

    That is the size of the picture's tensor, and how many characters the classes are. What the
    recipe gives stays. Where height or width vary, a step has to be told.

    Raises:
        OwnPostError: the target of a step cannot be imported.
        RecipeError: no input, or several, take the picture.
    """
    for post in model.post:
        if post.target is not None:
            register_target(post.target, post.id)
    return _with_input_size(_with_characters(model))


def _with_characters(model: ModelRecipe) -> ModelRecipe:
    count = {_CHARACTERS: len(model.classes)}
    posts = [
        replace(post, params={**count, **post.params})
        if model.classes and takes_parameter(post.id, _CHARACTERS)
        else post
        for post in model.post
    ]
    return replace(model, post=posts)


def _with_input_size(model: ModelRecipe) -> ModelRecipe:
    if model.pre is None or not any(map(_lacks_size, model.post)):
        return model
    picture = picture_input(model, model.pre)
    if not isinstance(picture.height, int) or not isinstance(picture.width, int):
        return model
    size = {_SIZE: [picture.height, picture.width]}
    posts = [
        replace(post, params={**post.params, **size}) if _lacks_size(post) else post
        for post in model.post
    ]
    return replace(model, post=posts)


def _lacks_size(post: PostRecipe) -> bool:
    return _SIZE not in post.params and takes_parameter(post.id, _SIZE)
