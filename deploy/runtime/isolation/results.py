"""Results of several pictures as named arrays and back, between processes."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Array, Tensors
from deploy.runtime.results.result import Result


def pack_results(results: Sequence[Result]) -> dict[str, Array]:
    """The results of some pictures as arrays, whose names begin with the picture's number."""
    return {
        f"{number}.{name}": array
        for number, result in enumerate(results)
        for name, array in result.to_arrays().items()
    }


def unpack_results(kind: type[Result], arrays: Tensors, count: int) -> list[Result]:
    """The results of ``count`` pictures, from arrays that nobody else holds.

    Args:
        kind: the class of the results.
        arrays: as ``pack_results`` gave them.
        count: how many there are.

    Raises:
        ValueError: the arrays do not fit together.
        KeyError: an array is missing.
    """
    return [kind.from_arrays(_of(arrays, number)) for number in range(count)]


def _of(arrays: Tensors, number: int) -> dict[str, Array]:
    prefix = f"{number}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
