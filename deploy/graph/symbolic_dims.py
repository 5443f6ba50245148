"""A size that a graph writes as an expression, such as ``floor(height/2) + 1`` -> its number."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

# A file may hold any text as the name of a size. Powers of powers would be computed for ever, and
# deep brackets exhaust the parser's stack.
_LONGEST = 300
_POWER = re.compile(r"\*\*\s*(\d(?!\s*\*\*|\d))?")


def evaluate_dim(dim: ir.SymbolicDim, sizes: Mapping[str, int]) -> int | None:
    """The number of a symbolic dimension, or None where it has none for these sizes.

    Args:
        dim: a name, an expression of names, or any text that a file gives as one.
        sizes: the size of each name.

    Examples:
        >>> evaluate_dim(ir.SymbolicDim("floor(height/2)"), {"height": 9})
        4
        >>> evaluate_dim(ir.SymbolicDim("9**9**9"), {})
    """
    text = dim.value or ""
    powers = _POWER.findall(text)
    if len(text) > _LONGEST or len(powers) > 1 or "" in powers:
        return None
    try:
        size = dim.evaluate(sizes)
    except (ValueError, ArithmeticError, RecursionError):  # no expression, or one without a value
        return None
    return size if isinstance(size, int) else None
