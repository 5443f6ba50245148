"""Recipes are checked once, at the door, and every refusal names its key."""

import pytest
from omegaconf import OmegaConf

from deploy.cli import to_recipe
from deploy.recipe import RecipeError, check, ranges

GOOD = {
    "model": {"name": "m", "target": "a:b", "inputs": {"x": {"shape": [1, 3, 8, 8]}}},
    "backend": {"name": "some"},
}


def recipe(**changes):
    config = OmegaConf.create(GOOD)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return to_recipe(config)


def test_defaults_are_filled_in():
    made = recipe()
    check(made)
    assert made.model.inputs["x"].dtype == "float32"
    assert made.partition.segments == []


def test_a_segment_may_have_its_own_backend():
    made = recipe(
        partition={"segments": [{"name": "head", "start": ["a:input"], "end": ["a:output"]}]},
        chain={"head": {"name": "other"}},
    )
    check(made)
    assert made.backend_of("head").name == "other"
    assert made.backend_of("neck").name == "some"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__foo": 1},
            r"model\.foo: Key 'foo' not in 'ModelRecipe'\. Its keys are name, target",
        ),
        ({"foo": 1}, r"foo: Key 'foo' not in 'Recipe'"),
        (
            {"verify__images": "x"},
            r"verify\.images: Value 'x' of type 'str' could not be converted",
        ),
        ({"model__target": "???"}, r"model\.target: .* missing mandatory value: target"),
    ],
)
def test_a_wrong_key_or_type_is_named(changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe(**changes)


def test_a_missing_backend_lists_the_backends():
    with pytest.raises(RecipeError, match=r"Pass \+backend=NAME, one of ncnn, onnxruntime"):
        to_recipe(OmegaConf.create({"model": GOOD["model"]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__inputs": {}}, "model.inputs: expected at least one input"),
        ({"model__inputs__x__shape": [1, 0]}, r"model\.inputs\.x\.shape: expected sizes from 1 up"),
        (
            {"chain": {"neck": {"name": "b"}}},
            "chain.neck: expected one of the segments model, got neck",
        ),
        ({"model__pre": {"input": "y"}}, "model.pre.input 'y': expected an input of shape"),
        ({"convert__timeout": 0}, "convert.timeout: expected a number in its range, got 0"),
        ({"verify__images": 0}, "verify.images"),
        ({"verify__min_matched": 2}, "verify.min_matched"),
        ({"bench__runs": -1}, "bench.runs"),
    ],
)
def test_what_no_stage_could_carry_out_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        check(recipe(**changes))


def test_ranges_become_dimensions():
    assert ranges({"batch": [1, 4, 16]})["batch"].opt == 4


@pytest.mark.parametrize("sizes", [[1, 2], [0, 1, 2], [4, 1, 16]])
def test_a_range_that_does_not_ascend_is_refused(sizes):
    with pytest.raises(RecipeError, match=r"model\.dynamic\.batch: expected \[min, opt, max\]"):
        ranges({"batch": sizes})
