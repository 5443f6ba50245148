"""Scores of a vocabulary at each position to tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np

from backends.bounds import Between, Length
from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.tasks.activations import ACTIVATIONS, Activation
from deploy.tasks.tokens.result import Join, Tokens

TokenId = Annotated[int, Between(-(1 << 31), (1 << 31) - 1)]
"""The number of a word of the vocabulary, or one outside of it."""

_RIVALS = 5  # tokens of a position that are kept, so that ties with the best one are seen


class DecodeTokens:
    """The step ``tokens``: the likeliest token of each position, or the likeliest few.

    The tensor is one of these:

    - (N, T, V) float: of each position of each input a number for each token of the vocabulary.
      That is what ``logits`` of transformers are for language models, encoder-decoders and taggers.
    - (N, V) float: the same of one position, such as the next token.
    - (N, T) integer: tokens that the model has decoded itself, such as those of ``generate``.

    Each position is decoded on its own: there is no search over sequences.

    Formula:
        1. The tensor is (1, T, V) of floats: a number of each token at each position; or (1, V):
           the same of one position; or (1, T) of integers: tokens.
        2. Scores by ``activation``, over the vocabulary: softmax is exp(x - largest) / sum of
           these; sigmoid is 1 / (1 + exp(-x)); none is the numbers themselves. The token of a
           position has the largest number, the first of equal ones; ``top`` says how many are
           given.
        3. Leave out the first position whose token is ``end`` and all behind it, and the positions
           whose token is in ``ignore``.
        4. The text is the classes of the tokens. ``join`` space: with spaces between; none: with
           nothing; sentencepiece: with nothing, and U+2581 becomes a space; wordpiece: with spaces,
           and " ##" is taken out.

    Args:
        top: how many tokens of each position are given.
        activation: what makes scores of the numbers.
        end: the token that ends a sequence; it and what follows are left out.
        ignore: tokens that are left out, such as padding and the start token.
        join: how the tokens become a text.

    Examples:
        >>> import numpy as np
        >>> logits = np.array([[[0.0, 1.0, 5.0], [0.0, 4.0, 1.0], [6.0, 1.0, 1.0]]], np.float32)
        >>> (result,) = DecodeTokens(end=0).batch([logits])
        >>> result.summary(["end", "five", "forty"])
        'forty five'
        >>> (decoded,) = DecodeTokens(end=0).batch([np.array([[2, 1, 0, 0]])])
        >>> decoded.summary(["end", "five", "forty"])
        'forty five'
    """

    result: ClassVar[type[Result]] = Tokens

    def __init__(
        self,
        top: Annotated[int, Between(1, 100)] = 1,
        activation: Activation = "softmax",
        end: TokenId | None = None,
        ignore: Annotated[tuple[TokenId, ...], Length(0, 1_000)] = (),
        join: Join = "space",
    ) -> None:
        self._top = top
        self._activate = ACTIVATIONS[activation]
        self._end = end
        self._ignore = ignore
        self._join: Join = join

    def batch(self, tensors: Sequence[Array]) -> list[Tokens]:
        """The tokens of each input of a batch.

        Args:
            tensors: (N, T, V) or (N, V) of floats, or (N, T) of integers; a single one.

        Raises:
            TensorError: another number, shape or dtype of tensors; or several tokens of each
                position are to be given, and there are no scores.
        """
        tensor = _checked(tensors)
        if tensor.dtype.kind != "f":
            if self._top > 1:
                raise TensorError(
                    f"scores of tokens for top={self._top}",
                    expected="one tensor of floats",
                    got=_described(tensors),
                    do="Leave out top, or end the model at its logits.",
                )
            return [self._tokens(ids[:, None], None) for ids in tensor.astype(np.int64)]
        rows = tensor[:, None] if tensor.ndim == 2 else tensor
        return [self._decode(numbers.astype(np.float32, copy=False)) for numbers in rows]

    def _decode(self, numbers: Array) -> Tokens:
        """The tokens of one input (T, V)."""
        ids = likeliest(numbers, min(max(self._top, _RIVALS), numbers.shape[1]))
        with np.errstate(invalid="ignore", over="ignore"):  # of infinite values
            scores = self._activate(numbers)
        return self._tokens(ids, np.take_along_axis(scores, ids, axis=1).astype(np.float32))

    def _tokens(self, ids: Array, scores: Array | None) -> Tokens:
        best = ids[:, 0]
        shown = ~np.isin(best, self._ignore)
        if self._end is not None:
            shown &= ~np.logical_or.accumulate(best == self._end)
        return Tokens(ids, shown, scores, self._top, self._join)


def likeliest(scores: Array, count: int) -> Array:
    """The indices (T, count) int64 of the largest scores of each row (T, V), largest first.

    Of equal scores the first is the largest, and a NaN is smaller than any number. Among scores
    that are equal to the last one that is given, any may be left out.
    """
    numbers = np.where(np.isnan(scores), -np.inf, scores)
    rows = np.arange(len(numbers))
    numbers[rows, numbers.argmax(axis=1)] = np.inf  # so that it stays, however many are equal
    size = numbers.shape[1]
    if count < size:
        chosen = np.argpartition(numbers, size - count, axis=1)[:, size - count :]
    else:
        chosen = np.broadcast_to(np.arange(size), numbers.shape)
    order = np.lexsort((chosen, -np.take_along_axis(numbers, chosen, axis=1)), axis=1)
    return np.take_along_axis(chosen, order, axis=1).astype(np.int64)


def _checked(tensors: Sequence[Array]) -> Array:
    kinds = [(tensor.dtype.kind, tensor.ndim) for tensor in tensors]
    if kinds not in ([("f", 3)], [("f", 2)], [("i", 2)], [("u", 2)]) or (
        kinds[0][0] == "f" and tensors[0].shape[-1] == 0
    ):
        raise TensorError(
            "scores of tokens",
            expected="one tensor of floats [N, positions, vocabulary] or [N, vocabulary], or of "
            "integers [N, positions]",
            got=_described(tensors),
            do="Where the chain has several outputs, name the one: model.post.0.inputs=[logits]."
            if len(tensors) > 1
            else "",
        )
    return tensors[0]


def _described(tensors: Sequence[Array]) -> str:
    return ", ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in tensors) or "none"


POSTS: Mapping[str, PostFactory] = {"tokens": DecodeTokens}
"""The post-processing steps by the ids that bundles name."""
