"""The dtypes that an engine's tensors can have."""

from __future__ import annotations

from collections.abc import Collection

from backends.contract import Specs


def dtype_obstacle(dtypes: Collection[str], specs: Specs) -> str:
    """Why an engine with these dtypes cannot take one of these tensors, or an empty text.

    Examples:
        >>> from backends.contract import TensorSpec
        >>> dtype_obstacle(["float32", "int64"], (TensorSpec("x", "float64", (1, 3)),))
        "its tensors are float32 or int64: 'x' float64[1, 3]"
    """
    for spec in specs:
        if spec.dtype not in dtypes:
            *others, last = dtypes
            known = f"{', '.join(others)} or {last}" if others else last
            return f"its tensors are {known}: '{spec.name}' {spec}"
    return ""
