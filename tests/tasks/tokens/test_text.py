"""Words and characters of a text to tokens, and texts that a model cannot take."""

from __future__ import annotations

import traceback

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract import Dynamic, TensorSpec
from deploy.runtime.execution.text_front_ends import (
    TextError,
    TextFrontEndError,
    check_text_front_end,
    registered_text_front_ends,
)
from deploy.tasks.tokens.text import Characters, Words
from tests.models.test_hostile_params import HOSTILE

WORDS = ["<pad>", "<end>", "five", "forty", "hundred"]
DIGITS = ["<pad>", "<end>", *"0123456789", "zero"]


def specs(length: int | Dynamic = 4, mask: bool = True, dtype: str = "int64"):
    names = ("input_ids", "attention_mask")[: 1 + mask]
    return tuple(TensorSpec(name, dtype, (1, length)) for name in names)


def plain(arrays: dict[str, np.ndarray]) -> list[list[int]]:
    """The only row of each array."""
    return [array.tolist()[0] for array in arrays.values()]


def test_each_word_is_a_token_and_the_mask_is_one_at_tokens():
    arrays = Words(specs(), WORDS)("  forty \t five\n")
    assert plain(arrays) == [[3, 2, 0, 0], [1, 1, 0, 0]]
    assert [array.dtype for array in arrays.values()] == [np.int64, np.int64]


def test_each_character_is_a_token_and_words_of_the_vocabulary_are_none():
    assert plain(Characters(specs(), DIGITS)(" 907 ")) == [[11, 2, 9, 0], [1, 1, 1, 0]]


def test_start_and_end_are_put_around_a_text_and_count():
    front_end = Words(specs(), WORDS, start=7, end=1, pad=9)
    assert plain(front_end("five")) == [[7, 2, 1, 9], [1, 1, 1, 0]]
    with pytest.raises(TextError, match="words of the text: expected at most 2, got 3"):
        front_end("five five five")


def test_a_chain_without_a_mask_and_with_other_names_and_dtypes_is_served():
    (spec,) = specs(mask=False, dtype="int32")
    (array,) = Words((TensorSpec("x", "int32", spec.shape),), WORDS, ids="x")("five").values()
    assert (array.tolist(), array.dtype) == ([[2, 0, 0, 0]], np.int32)


@pytest.mark.parametrize(
    ("dim", "text", "tokens"),
    [
        (Dynamic("n", 1, 4, 8), "five", [2]),
        (Dynamic("n", 3, 4, 8), "five", [2, 0, 0]),
        (Dynamic("n", 2, 4, 8, 2), "five five five", [2, 2, 2, 0]),
    ],
)
def test_a_dynamic_length_is_the_shortest_that_the_chain_takes(dim, text, tokens):
    assert plain(Words(specs(dim, mask=False), WORDS)(text)) == [tokens]


def test_a_text_longer_than_a_dynamic_length_is_refused():
    with pytest.raises(TextError, match="expected at most 4, got 5"):
        Words(specs(Dynamic("n", 2, 4, 4, 2)), WORDS)("five " * 5)


def test_a_model_that_reads_other_words_than_it_writes_has_a_vocabulary_of_its_own():
    labels = ["good", "bad"]
    front_end = Words(specs(mask=False), labels, vocabulary=("pad", "fine"))
    assert plain(front_end("fine fine")) == [[1, 1, 0, 0]]


def test_small_letters_and_the_token_of_unknown_words_are_a_choice():
    front_end = Words(specs(mask=False), WORDS, lower=True, unknown=1)
    assert plain(front_end("FIVE apples")) == [[2, 1, 0, 0]]


def test_of_two_words_that_are_equal_in_the_vocabulary_the_first_counts():
    assert plain(Words(specs(mask=False), ["a", "b", "a"])("a")) == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("front_end", "text", "message"),
    [
        (Words, "five secret", r"word 2 of 2: expected .*\(<pad> <end> five.*\), got another$"),
        (Words, "secret five secret", r"word 1 of 3: .*, got another, and 1 more are unknown$"),
        (Characters, "4s", r"character 2 of 2: .*vocabulary \(0 1 2 3 4 5 6 7 8 9\), got another$"),
        (Words, "", "text: expected at least one word, got none"),
        (Characters, " \n", "text: expected at least one character, got none"),
        (Characters, "123456", "characters of the text: expected at most 4, got 6"),
    ],
)
def test_a_text_that_the_model_cannot_take_is_one_error_without_the_text(front_end, text, message):
    vocabulary = WORDS if front_end is Words else DIGITS
    with pytest.raises(TextError, match=message) as raised:
        front_end(specs(), vocabulary)(text)
    assert "secret" not in "".join(traceback.format_exception_only(raised.value))


def test_a_large_vocabulary_is_not_all_in_an_error():
    vocabulary = [f"w{number}" for number in range(50_000)]
    with pytest.raises(TextError, match=r"\(w0 w1 .* w11 and 49,988 more\)"):
        Words(specs(), vocabulary)("secret")


@pytest.mark.parametrize(
    ("inputs", "classes", "message"),
    [
        ((TensorSpec("x", "int64", (1, 4)),), WORDS, "'input_ids', .*, got 'x'. Name them"),
        ((*specs(), TensorSpec("x", "int64", (1, 4))), WORDS, "got 'input_ids', .*, 'x'"),
        ((TensorSpec("input_ids", "int64", (4,)),), WORDS, r"the tokens of a text, \[N, length\]"),
        ((TensorSpec("input_ids", "int64", None),), WORDS, r"the tokens of a text, \[N, length\]"),
        (specs(dtype="bfloat16"), WORDS, r"got bfloat16\[1, 4\]"),
        (specs(), [], r"vocabulary .* got none\. Pass model\.classes="),
    ],
)  # fmt: skip
def test_a_chain_or_a_vocabulary_that_does_not_suit_is_refused(inputs, classes, message):
    with pytest.raises(TextFrontEndError, match=message):
        Words(inputs, classes)


@pytest.mark.parametrize(
    ("id", "params", "message"),
    [
        ("word", {}, r"'word': expected one of characters, words, got.*deploy\.text_front_ends"),
        ("words", {"pads": 0}, "'words' does not take its parameters: unknown parameter 'pads'"),
        ("words", {"inputs": []}, "unknown parameter 'inputs'"),
        ("words", {"pad": "0"}, "pad: expected int"),
        ("characters", {"ids": ""}, "ids: expected .* of length 1 to 1,000"),
    ],
)  # fmt: skip
def test_an_unknown_front_end_and_bad_parameters_are_refused(id, params, message):
    with pytest.raises(TextFrontEndError, match=message):
        check_text_front_end(id, params)


@pytest.mark.parametrize("id", ["words", "characters"])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["vocabulary", "ids", "mask", "pad", "start", "end", "unknown", "lower"]),
    value=HOSTILE,
)
def test_a_hostile_parameter_is_taken_or_refused(id, name, value):
    try:
        check_text_front_end(id, {name: value})
    except TextFrontEndError as error:
        assert id in str(error)
        assert len(str(error)) < 2_000


def test_the_front_ends_are_found_by_their_ids():
    assert registered_text_front_ends() == {"words": Words, "characters": Characters}
