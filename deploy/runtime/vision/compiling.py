"""Host steps as machine code, where numba is installed; the extra is ``fast``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from backends.contract import Array

F = TypeVar("F", bound=Callable[..., Any])


@cache
def can_compile() -> bool:
    """Whether numba is installed; it is not imported."""
    return find_spec("numba") is not None


def compiled(function: F) -> F:
    """The function as machine code, made at the first call and kept in ``__pycache__``.

    It gives up the interpreter's lock. Where no folder for it can be written, it is made anew in
    each process.
    """
    import numba  # takes half a second, and is not everywhere

    try:
        made: F = numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # numba finds no folder that it can write
        made = numba.njit(function, nogil=True, error_model="numpy")
    return made


def as_compiled(array: Array, dtype: npt.DTypeLike) -> Array:
    """The array as machine code takes it: for another kind of array it would be made anew."""
    plain = np.ascontiguousarray(array, dtype)
    return plain if plain.flags.writeable else plain.copy()
