"""A step that needs the input's size has it from the recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.cli.compose import compose
from deploy.recipe.post_params import with_known_params
from deploy.recipe.schema import ModelRecipe, PostRecipe

MODEL = ("+model=module", "model.target=a:b", "+backend=onnxruntime", "+pre=coco")
INPUT = "model.inputs={image: {shape: [1, 3, 480, 640]}}"
OPEN = "model.inputs={image: {shape: [1, 3, height, 640]}}"
DETR = "model.post={id: detect.detr, params: {activation: sigmoid}}"


def params(*words: str) -> dict:
    (post,) = with_known_params(compose([*MODEL, *words]).model).post
    return post.params


def test_the_size_of_the_pictures_tensor_is_filled_in_and_a_given_one_stays():
    assert params(INPUT, DETR)["size"] == [480, 640]
    own = "model.post={id: detect.detr, params: {activation: sigmoid, size: [96, 96]}}"
    assert params(INPUT, own)["size"] == [96, 96]


def test_a_recogniser_knows_how_many_characters_there_are():
    post = PostRecipe(id="text.recognise")
    own = PostRecipe(id="text.recognise", params={"characters": 7})
    model = ModelRecipe(name="m", post=[post, own, PostRecipe(id="classify")])
    assert [post.params for post in with_known_params(model).post] == [
        {}, {"characters": 7}, {}
    ]  # fmt: skip
    named = replace(model, classes=["a", "b"])
    assert [post.params for post in with_known_params(named).post] == [
        {"characters": 2}, {"characters": 7}, {}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        (INPUT, "model.post=classify"),
        (INPUT, "model.post=nothing_of_this_name"),
        (OPEN, "model.dynamic={height: [32, 480, 960]}", DETR),
    ],
)
def test_no_size_is_filled_in_where_none_is_taken_or_known(words):
    assert "size" not in params(*words)
