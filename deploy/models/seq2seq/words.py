"""Numbers in digits and in words, and the tokens of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from backends.contract import Array

PAD, END = 0, 1
"""The tokens that say nothing and that end a text; texts begin with ``PAD``."""


_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)


_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


VOCABULARY = ("", "", *"0123456789", *_SMALL, *_TENS, "hundred", "thousand")
"""What each token stands for."""


LIMIT = 1_000_000
"""Numbers are below this."""


def digit_tokens(numbers: Sequence[int], length: int = 6) -> tuple[Array, Array]:
    """The digits of some numbers.

    Returns:
        Their tokens (n, length) int64, padded behind; and 1 where there is a digit, 0 at padding.

    Raises:
        ValueError: a number that is negative or has more digits.
    """
    texts = [str(number) for number in numbers]
    if not all(text.isdecimal() and len(text) <= length for text in texts):
        raise ValueError(f"expected numbers of up to {length} digits, got {', '.join(texts)}")
    tokens = [_padded([VOCABULARY.index(digit) for digit in text], length) for text in texts]
    mask = [_padded([1] * len(text), length) for text in texts]
    return np.array(tokens, np.int64), np.array(mask, np.int64)


def word_tokens(number: int) -> list[int]:
    """The tokens of a number in words, the end among them."""
    return [VOCABULARY.index(word) for word in in_words(number).split()] + [END]


def text_of(tokens: Iterable[int]) -> str:
    """What tokens stand for, up to their end."""
    words: list[str] = []
    for token in tokens:
        if token == END:
            break
        words.append(VOCABULARY[token])
    return " ".join(filter(None, words))


def in_words(number: int) -> str:
    """A number from 0 below ``LIMIT`` in English words, without hyphens and commas."""
    if not 0 <= number < LIMIT:
        raise ValueError(f"expected a number from 0 to {LIMIT - 1}, got {number}")
    thousands, rest = divmod(number, 1000)
    words = [_below_thousand(thousands), "thousand"] if thousands else []
    if rest or not words:
        words.append(_below_thousand(rest))
    return " ".join(words)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [_SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, rest = divmod(rest, 10)
        words.append(_TENS[tens - 2])
    if rest or not words:
        words.append(_SMALL[rest])
    return " ".join(words)


def _padded(tokens: list[int], length: int) -> list[int]:
    return tokens + [PAD] * (length - len(tokens))
