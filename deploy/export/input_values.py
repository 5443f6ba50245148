"""The value of an input that is the same in every run, checked against what the file says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array
from deploy.recipe.schema import RecipeError

_KINDS = {"b": "b", "i": "i", "u": "i", "f": "if"}  # of a dtype: the kinds of values that it takes


def input_value(name: str, value: object, dtype: str, sizes: Sequence[int | None] | None) -> Array:
    """The value as an array; a single number stands for a tensor of one value.

    Args:
        name: of the input.
        value: a number or nested lists.
        dtype: NumPy's name of the file's data type.
        sizes: of the file, None for each open one; None for an unknown rank.

    Raises:
        RecipeError: it is of another kind or shape than the file says, or no array.
    """
    where = f"model.inputs.{name}.value"
    try:
        given = np.array(value)
        array = given.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecipeError(
            where, expected=f"a number or nested lists of {dtype}", got=str(value)[:80]
        ) from error
    kind = np.dtype(dtype).kind
    exact = kind == "f" or (array == given).all()
    if given.dtype.kind not in _KINDS.get(kind, "") or not exact:
        raise RecipeError(where, expected=f"values of {dtype}", got=str(value)[:80])
    if sizes is not None and array.ndim == 0:
        array = array.reshape((1,) * len(sizes))
    if sizes is not None and not _fits(array.shape, sizes):
        raise RecipeError(
            where,
            expected=f"the shape {['any' if size is None else size for size in sizes]}",
            got=str(list(array.shape)),
        )
    return array


def _fits(shape: Sequence[int], sizes: Sequence[int | None]) -> bool:
    return len(shape) == len(sizes) and all(
        expected in (None, size) for size, expected in zip(shape, sizes, strict=True)
    )
