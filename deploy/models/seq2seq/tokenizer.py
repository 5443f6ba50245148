"""The demo's tokenizer: numbers in digits and in English words to tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from backends.contract import Array

PAD, END = 0, 1
"""The tokens of padding and of the end of a text; ``PAD`` also starts every text."""


_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)


_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


VOCABULARY = ("", "", *"0123456789", *_SMALL, *_TENS, "hundred", "thousand")
"""The text of each token, by its number."""


LIMIT = 1_000_000
"""Numbers are below this limit."""


def encode_digits(numbers: Sequence[int], length: int = 6) -> tuple[Array, Array]:
    """Numbers as tokens, one for each digit.

    Args:
        numbers: none of them negative.
        length: tokens per number; shorter numbers are padded at the end.

    Returns:
        The tokens (n, length) int64 and the attention mask (n, length) int64, 0 at padding.

    Raises:
        ValueError: a number is negative or has more digits than ``length``.

    Examples:
        >>> tokens, mask = encode_digits([42], length=3)
        >>> tokens, mask
        (array([[6, 4, 0]]), array([[1, 1, 0]]))
    """
    texts = [str(number) for number in numbers]
    if not all(text.isdecimal() and len(text) <= length for text in texts):
        raise ValueError(f"expected numbers of up to {length} digits, got {', '.join(texts)}")
    tokens = [_padded([VOCABULARY.index(digit) for digit in text], length) for text in texts]
    mask = [_padded([1] * len(text), length) for text in texts]
    return np.array(tokens, np.int64), np.array(mask, np.int64)


def encode_words(number: int) -> list[int]:
    """The tokens of a number in words, with ``END`` as the last."""
    return [VOCABULARY.index(word) for word in number_to_words(number).split()] + [END]


def decode_tokens(tokens: Iterable[int]) -> str:
    """The text of tokens up to the first ``END``.

    Examples:
        >>> decode_tokens(encode_words(42))
        'forty two'
    """
    words: list[str] = []
    for token in tokens:
        if token == END:
            break
        words.append(VOCABULARY[token])
    return " ".join(filter(None, words))


def number_to_words(number: int) -> str:
    """A number in English words, without hyphens and commas.

    Raises:
        ValueError: the number is negative, or not below ``LIMIT``.
    """
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
