"""The state of a recipe: what it may be, and what it may not."""

from __future__ import annotations

import pytest

from deploy.recipe.schema import InputRecipe, ModelRecipe, RecipeError
from deploy.recipe.state import check_state, state_pairs, state_paths, zero_state


def recipe(state, **fields):
    inputs = {"x": InputRecipe([1, 8]), "h": InputRecipe([1, 4], "float16")}
    return ModelRecipe("net", target="nets:Net", inputs=inputs, state=state, **fields)


def test_buffers_become_inputs_and_outputs_of_names_of_their_own():
    model = recipe(["memory", "encoder.cell.memory"])
    check_state(model)
    assert state_paths(model) == {"memory": "memory", "encoder_cell_memory": "encoder.cell.memory"}
    assert state_pairs(model)["encoder_cell_memory"] == "encoder_cell_memory_next"


def test_inputs_and_outputs_that_are_there_are_paired_and_begin_with_zeros():
    model = recipe({"h": "hn"})
    check_state(model)
    assert (state_paths(model), state_pairs(model)) == ({}, {"h": "hn"})
    assert (zero_state(model)["h"].shape, zero_state(model)["h"].dtype.name) == ((1, 4), "float16")


def test_without_state_there_is_none():
    check_state(recipe(None))
    assert state_pairs(recipe(None)) == {}


@pytest.mark.parametrize(
    ("state", "fields", "message"),
    [
        ("memory", {}, r"model\.state: expected \[BUFFER, \.\.\.\] .* got memory"),
        ([1], {}, r"model\.state: expected \[BUFFER"),
        ({"h": 1}, {}, r"model\.state: expected \[BUFFER"),
        (["x"], {}, "expected each tensor once, and no input's name"),
        (["a.b", "a_b"], {}, "expected each tensor once"),
        ({"x": "y", "h": "y"}, {}, "expected each tensor once"),
        ({"k": "kn"}, {}, r"model\.state\.k: expected an input \(x, h\), got k"),
        (["memory"], {"file": "net.onnx"}, r"of an ONNX file: expected \{INPUT: OUTPUT\}"),
        (["memory"], {"dynamic": {"batch": [1, 2, 4]}}, "expected a state of fixed sizes"),
    ],
)
def test_a_state_that_cannot_be_is_refused(state, fields, message):
    with pytest.raises(RecipeError, match=message):
        check_state(recipe(state, **fields))


def test_a_state_of_open_size_is_refused():
    model = recipe({"h": "hn"}, dynamic={"n": [1, 2, 4]})
    model.inputs["h"].shape = ["n", 4]
    with pytest.raises(RecipeError, match=r"expected an input with fixed sizes.*got \['n', 4\]"):
        check_state(model)
