"""The tensors at the border of a plan."""

from __future__ import annotations

from collections.abc import Mapping

from backends.borders import rank_obstacle
from backends.contract import Specs
from backends.dtypes import dtype_obstacle

DTYPES: Mapping[str, str] = {
    "float32": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}
"""NumPy's dtypes and the members of TensorRT's ``DataType``."""


_MOST_DIMENSIONS = 8


def border_obstacle(inputs: Specs, outputs: Specs) -> str:
    """Why no segment with these inputs and outputs can be converted, or an empty text.

    The parser takes an input of unknown rank for a scalar.
    """
    if obstacle := rank_obstacle(inputs, _MOST_DIMENSIONS):
        return obstacle
    return dtype_obstacle(DTYPES, (*inputs, *outputs))
