"""Numbers in digits and in words."""

import numpy as np
import pytest

from backends.contract import TensorSpec
from deploy.cli.compose import compose
from deploy.models.seq2seq.tokenizer import (
    LIMIT,
    PAD,
    VOCABULARY,
    decode_tokens,
    encode_digits,
    encode_words,
    number_to_words,
)
from deploy.runtime.execution.post_steps import make_post
from deploy.tasks.tokens.text import Characters


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (10, "ten"),
        (19, "nineteen"),
        (40, "forty"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (1000, "one thousand"),
        (20_000, "twenty thousand"),
        (300_017, "three hundred thousand seventeen"),
        (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
    ],
)
def test_a_number_in_words(number, words):
    assert number_to_words(number) == words
    assert decode_tokens(encode_words(number)) == words


def test_no_two_numbers_are_written_alike():
    numbers = range(0, LIMIT, 61)
    assert len({number_to_words(number) for number in numbers}) == len(numbers)


def test_every_token_is_another_word():
    assert len(set(VOCABULARY[1:])) == len(VOCABULARY) - 1


def test_digits_are_padded_behind_and_the_mask_says_where():
    tokens, mask = encode_digits([905, 31], 4)
    words = [[VOCABULARY[token] for token in row] for row in tokens]
    assert words == [[*"905", ""], [*"31", "", ""]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert tokens.dtype == mask.dtype == np.int64


def test_a_text_ends_at_its_end():
    tokens = encode_words(12)
    assert decode_tokens([0, *tokens, *tokens]) == "twelve"


@pytest.mark.parametrize("number", [-1, LIMIT])
def test_what_cannot_be_written_is_refused(number):
    with pytest.raises(ValueError, match=f"expected numbers of up to 6 digits, got {number}"):
        encode_digits([number])
    with pytest.raises(ValueError, match=f"expected a number from 0 to 999999, got {number}"):
        number_to_words(number)


def test_the_demos_classes_are_its_vocabulary_and_its_front_end_reads_digits_as_it_does():
    model = compose(["+model=seq2seq"]).model
    assert model.classes == ["<pad>", "<end>", *VOCABULARY[2:]]
    specs = tuple(TensorSpec(name, "int64", (1, 6)) for name in ("input_ids", "attention_mask"))
    assert model.text is not None and model.text.id == "characters"
    found = Characters(specs, model.classes, **model.text.params)("804210")
    for array, expected in zip(found.values(), encode_digits([804210]), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_the_demos_post_processing_gives_the_words_of_tokens():
    (post,) = compose(["+model=seq2seq"]).model.post
    tokens = np.array([[PAD, *encode_words(305)], [PAD, *encode_words(7), PAD, PAD]])
    first, second = make_post(post.id, post.params).batch([tokens])
    assert [result.text(VOCABULARY) for result in (first, second)] == [
        "three hundred five",
        "seven",
    ]
