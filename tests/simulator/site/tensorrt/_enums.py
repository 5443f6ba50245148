"""TensorRT's enumerations: the members that 10 and 11 share, with the values of either."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

import numpy as np

from ._version import by_major

T = TypeVar("T")


def expect(kind: type[T], value: object) -> T:
    """The value, which pybind11 takes only if it is of the kind."""
    if not isinstance(value, kind):
        raise TypeError(f"incompatible function arguments: no {kind.__name__}: {value!r}")
    return value


class Named(Enum):
    """As pybind11's: a number on request, but neither equal to one nor a shift's operand."""

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)


class Ordered(Named):
    """One whose members compare with each other."""

    def __lt__(self, other: object) -> bool:
        return int(self) < self._same(other)

    def __le__(self, other: object) -> bool:
        return int(self) <= self._same(other)

    def __gt__(self, other: object) -> bool:
        return int(self) > self._same(other)

    def __ge__(self, other: object) -> bool:
        return int(self) >= self._same(other)

    def _same(self, other: object) -> int:
        if type(other) is not type(self):
            raise TypeError("Expected an enumeration of matching type!")
        return int(other)


class LayerType(Ordered):
    CONVOLUTION = 0
    DECONVOLUTION = 7
    MATRIX_MULTIPLY = 17
    IDENTITY = 20


class BuilderFlag(Ordered):
    DEBUG = 2
    GPU_FALLBACK = 3
    REFIT = 4
    DISABLE_TIMING_CACHE = 5
    TF32 = 6
    SPARSE_WEIGHTS = 7
    SAFETY_SCOPE = 8
    DIRECT_IO = 11
    VERSION_COMPATIBLE = by_major(13, 12)
    EXCLUDE_LEAN_RUNTIME = by_major(14, 13)
    ERROR_ON_TIMING_CACHE_MISS = by_major(16, 15)
    DISABLE_COMPILATION_CACHE = by_major(18, 17)
    STRIP_PLAN = by_major(19, 18)
    REFIT_IDENTICAL = by_major(20, 19)
    WEIGHT_STREAMING = by_major(21, 20)
    REFIT_INDIVIDUAL = by_major(23, 22)
    STRICT_NANS = by_major(24, 23)
    MONITOR_MEMORY = by_major(25, 24)
    EDITABLE_TIMING_CACHE = by_major(27, 26)
    DISTRIBUTIVE_INDEPENDENCE = by_major(28, 27)


class MemoryPoolType(Named):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4
    TACTIC_SHARED_MEMORY = 5


class HardwareCompatibilityLevel(Named):
    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class ProfilingVerbosity(Named):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(Named):
    ONELINE = 0
    JSON = 1


class TensorIOMode(Named):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(Named):
    DEVICE = 0
    HOST = 1


class ErrorCode(Named):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    MEM_ALLOC_FAILED = 2
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_VALUE = 4
    INVALID_GRAPH = 5
    INVALID_NODE = 6
    UNSUPPORTED_GRAPH = 7
    UNSUPPORTED_NODE = 8
    UNSUPPORTED_NODE_ATTR = 9
    UNSUPPORTED_NODE_INPUT = 10
    UNSUPPORTED_NODE_DATATYPE = 11
    UNSUPPORTED_NODE_DYNAMIC = 12
    UNSUPPORTED_NODE_SHAPE = 13
    REFIT_FAILED = 14


class DataType(Named):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8
    INT4 = 9

    @property
    def itemsize(self) -> float:
        """In bytes."""
        return _BYTES[self]


_BYTES = {
    DataType.FLOAT: 4,
    DataType.HALF: 2,
    DataType.INT8: 1,
    DataType.INT32: 4,
    DataType.BOOL: 1,
    DataType.UINT8: 1,
    DataType.FP8: 1,
    DataType.BF16: 2,
    DataType.INT64: 8,
    DataType.INT4: 0.5,
}
_NUMPY: dict[DataType, Any] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
}


def nptype(trt_type: DataType) -> Any:
    """NumPy's type of the same numbers."""
    if trt_type not in _NUMPY:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return _NUMPY[trt_type]
