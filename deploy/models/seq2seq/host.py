"""The loop around a decoder, on the host: a step for each token until every row has ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.contract import Array, Tensors
from deploy.runtime.execution.host_steps import HostFactory, SegmentFunction


class Greedy:
    """Writes the likeliest token again and again.

    Args:
        segments: the decoder alone. It takes ``token`` (rows, 1) int64, ``past`` (1 + steps, rows,
            width), whose first row it does not look at, and what the host step takes; and gives
            ``logits`` (rows, vocabulary) and ``fresh`` (1, rows, width), the next row of ``past``.
        start: the token that every row begins with.
        end: the token that ends a row.
        pad: the token behind it, while other rows go on.
        steps: how many tokens are written at most.
        first: the token that is written first in any case.
        last: the token that is written in any case where a row is still going on at the last step.

    Raises:
        ValueError: another number of segments, or less than one step.
    """

    def __init__(
        self,
        segments: Mapping[str, SegmentFunction],
        start: int,
        end: int,
        pad: int,
        steps: int,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        if len(segments) != 1 or steps < 1:
            raise ValueError(f"expected a segment and steps >= 1, got {len(segments)} and {steps}")
        (self._decoder,) = segments.values()
        self._start, self._end, self._pad, self._steps = start, end, pad, steps
        forced = {1: first, steps: last}
        self._forced = {at: token for at, token in forced.items() if token is not None}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Write.

        Args:
            inputs: ``memory`` (rows, length, width), and whatever else the decoder takes.

        Returns:
            ``tokens`` (rows, written) int64, the start among them.
        """
        rows, _, width = inputs["memory"].shape
        tokens = np.full((rows, self._steps + 1), self._pad, np.int64)
        tokens[:, 0] = self._start
        past = np.zeros((self._steps + 1, rows, width), inputs["memory"].dtype)
        going = np.ones(rows, np.bool_)
        written = 0
        while written < self._steps and going.any():
            token = tokens[:, written : written + 1]
            found = self._decoder({**inputs, "token": token, "past": past[: written + 1]})
            written += 1
            past[written] = found["fresh"][0]
            tokens[going, written] = self._forced.get(written, found["logits"].argmax(1)[going])
            going &= tokens[:, written] != self._end
        return {"tokens": tokens[:, : written + 1]}


HOST_STEPS: Mapping[str, HostFactory] = {"seq2seq.greedy": Greedy}
"""By the ids that bundles name them with."""
