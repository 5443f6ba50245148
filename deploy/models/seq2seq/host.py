"""Greedy decoding on the host: one call of the decoder per token, until every row has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np

from backends.bounds import Between
from backends.contract import Array, Tensors
from deploy.runtime.execution.host_steps import HostFactory, SegmentFunction

Token = Annotated[int, Between(-(1 << 31), (1 << 31) - 1)]
"""The number of a word of the vocabulary, or one outside of it."""


class Greedy:
    """The host step ``seq2seq.greedy``: appends the most likely token until the end token.

    Formula:
        1. Each row begins with the token ``start``. ``past`` begins as zeros (1, rows, width), with
           the rows and the width of ``memory``.
        2. Call the segment with ``token`` (rows, 1), the last token of each row, with ``past``, and
           with the other inputs of this step. Put ``fresh`` (1, rows, width) behind the last row of
           ``past``.
        3. The next token of a row is the index of its largest value in ``logits`` (rows,
           vocabulary), the first of equal ones. The first new token is ``first``, and the one of
           step ``steps`` is ``last``, where these are given. Rows that have ended get ``pad``.
        4. A row ends with the token ``end``. Go on with step 2 until all rows have ended, or
           ``steps`` tokens were written.
        5. ``tokens`` (rows, written) has the start tokens too.

    Args:
        segments: the decoder alone. Its inputs are ``token`` (rows, 1) int64, ``past`` (1 + steps,
            rows, width), whose first row it ignores, and the inputs of the host step. Its outputs
            are ``logits`` (rows, vocabulary) and ``fresh`` (1, rows, width), the next row of
            ``past``.
        start: the first token of every row.
        end: the token that ends a row.
        pad: the token of a row that has ended, while other rows continue.
        steps: the largest number of new tokens.
        first: the forced first new token, if any; ``forced_bos_token_id`` of transformers.
        last: the forced token at the last step, if any; ``forced_eos_token_id`` of transformers.

    Raises:
        ValueError: not exactly one segment, or less than one step.
    """

    def __init__(
        self,
        segments: Mapping[str, SegmentFunction],
        start: Token,
        end: Token,
        pad: Token,
        steps: Annotated[int, Between(1, 10_000)],
        first: Token | None = None,
        last: Token | None = None,
    ) -> None:
        if len(segments) != 1 or steps < 1:
            raise ValueError(f"expected a segment and steps >= 1, got {len(segments)} and {steps}")
        (self._decoder,) = segments.values()
        self._start, self._end, self._pad, self._steps = start, end, pad, steps
        forced = {1: first, steps: last}
        self._forced = {step: token for step, token in forced.items() if token is not None}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Decode one batch.

        Args:
            inputs: ``memory`` (rows, length, width), and the other inputs of the decoder.

        Returns:
            ``tokens`` (rows, written) int64, the start token included.
        """
        rows, _, width = inputs["memory"].shape
        tokens = np.full((rows, self._steps + 1), self._pad, np.int64)
        tokens[:, 0] = self._start
        past = np.zeros((self._steps + 1, rows, width), inputs["memory"].dtype)
        active = np.ones(rows, np.bool_)
        written = 0
        while written < self._steps and active.any():
            token = tokens[:, written : written + 1]
            outputs = self._decoder({**inputs, "token": token, "past": past[: written + 1]})
            written += 1
            past[written] = outputs["fresh"][0]
            tokens[active, written] = self._forced.get(written, outputs["logits"].argmax(1)[active])
            active &= tokens[:, written] != self._end
        return {"tokens": tokens[:, : written + 1]}


HOST_STEPS: Mapping[str, HostFactory] = {"seq2seq.greedy": Greedy}
"""The host steps by the ids that bundles name."""
