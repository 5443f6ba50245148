"""Several pictures in one call of a chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, TypeVar

from backends.contract import DeployError, Dim, Dynamic, Specs

T = TypeVar("T")


def batch_size(inputs: Specs, asked: int | Literal["auto"]) -> int:
    """How many pictures go into a call.

    Args:
        inputs: of the chain.
        asked: by the user; ``auto`` is the fixed batch, or the usual size of one that varies.

    Raises:
        DeployError: the bundle does not take so many.
    """
    first = _first(inputs)
    least, usual, most = (
        (first.min, first.opt, first.max) if isinstance(first, Dynamic) else (1, first, first)
    )
    size = usual if asked == "auto" else asked
    if not least <= size <= most:
        raise DeployError(
            "batch",
            expected=f"{least} to {most}, as the bundle was made for",
            got=str(asked),
            do="Pass batch='auto', or export the model with such a batch.",
        )
    return size


def least_batch(inputs: Specs) -> int:
    """How many pictures a call takes at the least."""
    first = _first(inputs)
    return first.min if isinstance(first, Dynamic) else first


def _first(inputs: Specs) -> Dim:
    return inputs[0].dims[0] if inputs and inputs[0].dims else 1


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of this size; the last may be shorter."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
