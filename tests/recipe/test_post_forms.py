"""``model.post`` is an id, one entry, or several; a step of one's own is named by a target."""

from __future__ import annotations

import pytest

from backends.contract import DeployError
from deploy.cli.compose import compose
from deploy.partition.host_steps import select_post_step
from deploy.recipe.schema import RecipeError
from deploy.recipe.validate import check_recipe

MODEL = ("+model=module", "model.target=a:b", "+backend=onnxruntime")
INPUT = "model.inputs={image: {shape: [1, 3, 8, 8]}}"


def posts(word: str):
    return compose([*MODEL, INPUT, word]).model.post


@pytest.mark.parametrize(
    "word", ["model.post=classify", "model.post={id: classify}", "model.post=[classify]"]
)
def test_an_id_alone_is_an_entry(word):
    (post,) = posts(word)
    assert (post.id, post.target, post.border, post.inputs, post.params) == (
        ("classify", None, [], [], {})
    )


def test_a_target_has_the_id_that_bundles_name():
    (post,) = posts("model.post={target: my_post:decode, params: {top: 2}}")
    assert (post.id, post.target, post.params) == ("my_post.decode", "my_post:decode", {"top": 2})


def test_an_entry_without_a_border_holds_wherever_the_chain_ends():
    model = compose([*MODEL, INPUT, "model.post={id: classify, inputs: [b]}"]).model
    step = select_post_step(model, ["a", "b"], {})
    assert step is not None and step.inputs == ("b",)
    with pytest.raises(RecipeError, match=r"expected outputs of the chain: a, got b"):
        select_post_step(model, ["a"], {})


def test_an_entry_names_code():
    recipe = compose([*MODEL, INPUT, "model.post={params: {top: 1}}"])
    with pytest.raises(RecipeError, match=r"expected an id.*, got neither\. .*=classify"):
        check_recipe(recipe)


def test_a_target_of_a_configuration_file_is_not_imported(tmp_path):
    folder = tmp_path / "my"
    (folder / "model").mkdir(parents=True)
    text = "defaults: [/model/module, _self_]\nmodel: {post: {target: 'os:system'}}\n"
    (folder / "model" / "evil.yaml").write_text(f"# @package _global_\n{text}")
    words = ["+model=evil", "model.target=a:b", INPUT, "+backend=onnxruntime"]
    with pytest.raises(RecipeError, match=r"model\.post\.target=os:system is code that a config"):
        compose(words, folder)


@pytest.mark.parametrize("word", ["model.text=words", "model.text={id: words}"])
def test_a_text_front_end_is_an_id_or_an_entry(word):
    text = compose([*MODEL, INPUT, word]).model.text
    assert text is not None
    assert (text.id, text.params) == ("words", {})


def test_parameters_of_a_text_front_end_alone_are_refused_with_what_to_write():
    with pytest.raises(
        RecipeError, match=r"model\.text: .* got parameters alone\. Pass both in one"
    ):
        compose([*MODEL, INPUT, "model.text=words", "model.text.params.pad=1"])


def test_a_parameter_may_be_set_where_the_models_file_names_a_front_end():
    recipe = compose(["+model=seq2seq", "+backend=onnxruntime", "model.text.params.pad=1"])
    assert recipe.model.text is not None
    assert (recipe.model.text.id, recipe.model.text.params) == ("characters", {"pad": 1})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.text=word"], "text front end 'word': expected one of characters, words"),
        (["model.text={id: words, params: {pads: 1}}"], "unknown parameter 'pads'"),
        (["+pre=imagenet", "model.text=words"], r"of text or of pictures, .* model\.pre=null"),
    ],
)  # fmt: skip
def test_a_text_front_end_is_checked_before_the_export(words, message):
    recipe = compose([*MODEL, INPUT, "model.post=tokens", *words])
    with pytest.raises(DeployError, match=message):
        check_recipe(recipe)
