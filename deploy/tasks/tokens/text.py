"""Text front ends that look up words or characters in the vocabulary of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from backends.bounds import Length, Name
from backends.contract import Array, Dynamic, Specs, TensorSpec
from deploy.runtime.execution.text_front_ends import (
    TextError,
    TextFrontEndError,
    TextFrontEndFactory,
)
from deploy.tasks.tokens.post import TokenId

InputName = Annotated[str, Length(1, 1_000)]
Vocabulary = Annotated[tuple[Name, ...], Length(1, 100_000)]
_SHOWN = 12  # words of the vocabulary in an error
_DTYPES = ("int32", "int64", "uint32", "uint64", "float32", "float64", "bool")


class Words:
    """The front end ``words``: each word between spaces is a token of the vocabulary.

    The number of a token is the place of its word in the vocabulary. The chain takes the tokens
    (N, length); where it takes a mask of the same shape too, that is 1 at tokens and 0 at padding.

    Formula:
        1. With ``lower`` make letters small. Split the text at white space.
        2. The token of a word is its first place in ``vocabulary`` (null: the classes), or
           ``unknown`` (null: an error). Put ``start`` before and ``end`` behind them, where these
           are given.
        3. Fill up with ``pad`` to the length of the input ``ids`` (1, length); where the length
           varies, to the next one that it may have. More tokens are an error.
        4. Where there is an input ``mask``, it is 1 at the tokens and 0 at the padding.

    Args:
        inputs: the specs of the chain's inputs.
        classes: the names of the bundle's classes.
        vocabulary: the word of each token; by default the classes, of models that read and write
            the same words.
        ids: the input that takes the tokens.
        mask: the input that takes the mask, where the chain has it.
        pad: the token behind the end of a text, up to the length that the chain takes.
        start: a token before the first one.
        end: a token behind the last one.
        unknown: the token of words that the vocabulary does not have; without it they are an error.
        lower: whether letters are made small first.

    Raises:
        TextFrontEndError: the chain has no such input, or another one that would get no value; or
            there is no vocabulary.

    Examples:
        >>> ids = TensorSpec("input_ids", "int64", (1, 4))
        >>> Words((ids,), ["pad", "five", "forty"])("forty five")
        {'input_ids': array([[2, 1, 0, 0]])}
    """

    _unit = "word"

    def __init__(
        self,
        inputs: Specs,
        classes: Sequence[str],
        vocabulary: Vocabulary | None = None,
        ids: InputName = "input_ids",
        mask: InputName = "attention_mask",
        pad: TokenId = 0,
        start: TokenId | None = None,
        end: TokenId | None = None,
        unknown: TokenId | None = None,
        lower: bool = False,
    ) -> None:
        specs = {spec.name: spec for spec in inputs}
        if ids not in specs or not specs.keys() <= {ids, mask}:
            raise TextFrontEndError(
                f"inputs of the {self._unit}s of a text",
                expected=f"'{ids}', and '{mask}' where there is a mask",
                got=", ".join(f"'{name}'" for name in specs) or "none",
                do=f"Name them: 'model.text={{id: {self._unit}s, params: {{ids: INPUT, mask: "
                "INPUT}}'.",
            )
        for spec in inputs:
            _check_spec(spec)
        words = vocabulary or classes
        if not words:
            raise TextFrontEndError(
                f"vocabulary of the {self._unit}s of a text",
                expected="a word for each token",
                got="none",
                do="Pass model.classes=[...]; where the model reads other words than it writes, "
                f"'model.text={{id: {self._unit}s, params: {{vocabulary: [...]}}}}'.",
            )
        self._spec, self._mask = specs[ids], specs.get(mask)
        self._places = {word: place for place, word in reversed(list(enumerate(words)))}
        self._pad, self._unknown, self._lower = pad, unknown, lower
        self._start = [] if start is None else [start]
        self._end = [] if end is None else [end]

    def __call__(self, text: str) -> dict[str, Array]:
        """The tokens of a text, and their mask.

        Raises:
            TextError: the text is empty or too long, or has an unknown word.
        """
        units = self._split(text.lower() if self._lower else text)
        if not units:
            raise TextError("text", expected=f"at least one {self._unit}", got="none")
        tokens = [*self._start, *self._look_up(units), *self._end]
        length = self._length(len(tokens))
        padded = tokens + [self._pad] * (length - len(tokens))
        arrays = {self._spec.name: np.array([padded], self._spec.dtype)}
        if self._mask is not None:
            mask = [1] * len(tokens) + [0] * (length - len(tokens))
            arrays[self._mask.name] = np.array([mask], self._mask.dtype)
        return arrays

    def _split(self, text: str) -> list[str]:
        return text.split()

    def _look_up(self, units: Sequence[str]) -> list[int]:
        """The token of each unit; an error has the place of the first unknown one alone."""
        tokens = [self._places.get(unit, self._unknown) for unit in units]
        if None in tokens:
            count = tokens.count(None)
            raise TextError(
                f"{self._unit} {tokens.index(None) + 1} of {len(tokens)}",
                expected=f"a {self._unit} of the vocabulary ({self._known()})",
                got="another" if count == 1 else f"another, and {count - 1} more are unknown",
            )
        return [token for token in tokens if token is not None]

    def _known(self) -> str:
        """Some of the vocabulary, for an error."""
        known = [word for word in self._places if self._is_unit(word)]
        shown = " ".join(known[::-1][:_SHOWN])
        return f"{shown} and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else shown

    def _is_unit(self, word: str) -> bool:
        return bool(word) and not any(map(str.isspace, word))

    def _length(self, count: int) -> int:
        """How many tokens the chain takes for a text of so many."""
        length = self._spec.dims[1]
        most = length.max if isinstance(length, Dynamic) else length
        if isinstance(length, Dynamic):
            steps = -(-max(count, length.min) // length.multiple)
            length = steps * length.multiple
        if count > most or length > most:
            added = len(self._start) + len(self._end)
            raise TextError(
                f"{self._unit}s of the text",
                expected=f"at most {most - added}",
                got=f"{count - added}",
            )
        return length


class Characters(Words):
    """The front end ``characters``: each character is a token of the vocabulary; see ``Words``.

    Spaces around the text do not count.

    Formula:
        1. With ``lower`` make letters small. Take away white space around the text; each character
           that is left is one of the words below.
        2. The token of a word is its first place in ``vocabulary`` (null: the classes), or
           ``unknown`` (null: an error). Put ``start`` before and ``end`` behind them, where these
           are given.
        3. Fill up with ``pad`` to the length of the input ``ids`` (1, length); where the length
           varies, to the next one that it may have. More tokens are an error.
        4. Where there is an input ``mask``, it is 1 at the tokens and 0 at the padding.

    Examples:
        >>> specs = [TensorSpec(name, "int64", (1, 3)) for name in ("input_ids", "attention_mask")]
        >>> Characters(tuple(specs), ["pad", "0", "1", "2"])("20")
        {'input_ids': array([[3, 1, 0]]), 'attention_mask': array([[1, 1, 0]])}
    """

    _unit = "character"

    def _split(self, text: str) -> list[str]:
        return list(text.strip())

    def _is_unit(self, word: str) -> bool:
        return len(word) == 1


def _check_spec(spec: TensorSpec) -> None:
    if len(spec.dims) != 2 or spec.dtype not in _DTYPES:
        raise TextFrontEndError(
            f"input '{spec.name}'",
            expected="the tokens of a text, [N, length]",
            got=str(spec),
            do="Give the tokens as tensors, or install a text front end of your own.",
        )


TEXT_FRONT_ENDS: Mapping[str, TextFrontEndFactory] = {"words": Words, "characters": Characters}
"""The text front ends by the ids that bundles name."""
