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
    if requested != "auto" and not isinstance(requested, int):
        got = type(requested).__name__
        raise DeployError("batch", expected="a number, or 'auto'", got=got)
    dim = _batch_dim(inputs)
    sizes = dim if isinstance(dim, Dynamic) else Dynamic("batch", 1, dim, dim)
    size = sizes.opt if requested == "auto" else requested
    if not sizes.accepts(size):
        step = f" in steps of {sizes.multiple}" if sizes.multiple > 1 else ""
        raise DeployError(
            "batch",
            expected=f"{sizes.min} to {sizes.max}{step}, as the bundle was made for",
            got=str(requested),
            do="Pass batch='auto', or export the model with such a batch.",
        )
    return size


def padded_batch(inputs: Specs, count: int) -> int:
    """The smallest batch that a call takes of ``count`` items, the rest of it left empty."""
    dim = _batch_dim(inputs)
    if isinstance(dim, Dynamic):
        return max(dim.min, -(-count // dim.multiple) * dim.multiple)
    return max(dim, count)


def _batch_dim(inputs: Specs) -> Dim:
    return inputs[0].dims[0] if inputs and inputs[0].dims else 1


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of this size; the last may be shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
