"""Several pictures in one call of a chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, TypeVar

from backends.contract import DeployError, Dim, Dynamic, Specs

T = TypeVar("T")


def batch_size(inputs: Specs, requested: int | Literal["auto"]) -> int:
    """How many pictures go into a call.

    Args:
        inputs: of the chain.
        requested: by the user; ``auto`` is the fixed batch, or the typical one of a range.

    Raises:
        DeployError: the bundle does not take so many.
    """
    dim = _batch_dim(inputs)
    least, typical, most = (
        (dim.min, dim.opt, dim.max) if isinstance(dim, Dynamic) else (1, dim, dim)
    )
    size = typical if requested == "auto" else requested
    if not least <= size <= most:
        raise DeployError(
            "batch",
            expected=f"{least} to {most}, as the bundle was made for",
            got=str(requested),
            do="Pass batch='auto', or export the model with such a batch.",
        )
    return size


def least_batch(inputs: Specs) -> int:
    """The smallest batch that a call takes."""
    dim = _batch_dim(inputs)
    return dim.min if isinstance(dim, Dynamic) else dim


def _batch_dim(inputs: Specs) -> Dim:
    return inputs[0].dims[0] if inputs and inputs[0].dims else 1


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of this size; the last may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
