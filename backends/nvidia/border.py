"""The dtypes of tensors at the border of a plan."""

from __future__ import annotations

from collections.abc import Mapping

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


def border_obstacle(inputs: Specs, outputs: Specs) -> str:
    """Why no segment with these inputs and outputs can be converted, or an empty text."""
    return dtype_obstacle(DTYPES, (*inputs, *outputs))
