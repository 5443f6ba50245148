"""What a call of the model shows is refused before the export, and nothing that is right."""

from dataclasses import replace

import numpy as np
import pytest

from deploy.export.torch_source import TorchSource
from deploy.pipeline.first_forward import check_first_forward
from deploy.recipe.schema import HostRecipe, InputRecipe, PartitionRecipe, PostRecipe, RecipeError
from tests.pipeline.test_preconditions import recipe_of

INPUTS = {"x": np.zeros((1, 4), np.float32)}


def check(post: PostRecipe, **partition: list) -> None:
    recipe = recipe_of({"x": InputRecipe([1, 4])})
    model = replace(recipe.model, target="torch.nn:ReLU", post=[post])
    made = replace(recipe, model=model, partition=PartitionRecipe(**partition))
    check_first_forward(made, TorchSource(model, ["ncnn"]), INPUTS)


def test_an_input_that_there_is_not_is_refused_where_the_whole_model_ends_in_it():
    with pytest.raises(RecipeError, match="expected outputs of the chain: output, got y"):
        check(PostRecipe(id="embed", inputs=["y"]))
    check(PostRecipe(id="embed", inputs=["output"]))


def test_a_step_of_another_end_or_behind_a_host_step_is_judged_later():
    check(PostRecipe(id="embed", border=["head:input"], inputs=["y"]))
    check(PostRecipe(id="embed", inputs=["y"]), host=[HostRecipe("h", "some.step")])
