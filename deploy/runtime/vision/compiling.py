"""Host code compiled by numba, where it is installed; the extra is ``fast``."""

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
    """The function as machine code, compiled at the first call and cached in ``__pycache__``.

    It releases the interpreter's lock. Where no cache folder can be written, each process compiles
    it again.
    """
    import numba  # takes half a second, and is optional

    try:
        machine_code: F = numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # numba finds no folder that it can write
        machine_code = numba.njit(function, nogil=True, error_model="numpy")
    return machine_code


def as_compiled(array: Array, dtype: npt.DTypeLike) -> Array:
    """The array in the layout for which the code is compiled; another one compiles it again."""
    contiguous = np.ascontiguousarray(array, dtype)
    return contiguous if contiguous.flags.writeable else contiguous.copy()
