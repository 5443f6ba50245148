"""Tensors of any dtype: into ONNX Runtime, out of it, and compared bit by bit."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, OrtValue

from backends.contract import Array

_PLAIN = frozenset("?bhilqBHILQefd")  # NumPy's own numbers


@dataclass(frozen=True)
class Tensor:
    """A tensor as ONNX Runtime keeps it.

    Attributes:
        value: what a session takes and gives.
    """

    value: OrtValue

    @cached_property
    def element(self) -> int:
        """The element type, as ``onnx.TensorProto`` numbers them."""
        return int(self.value.element_type())

    @property
    def dtype(self) -> str:
        """The name of the NumPy dtype."""
        return str(helper.tensor_dtype_to_np_dtype(self.element).name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return tuple(self.value.shape())

    @cached_property
    def array(self) -> Array:
        """A copy of the values; NumPy's own types, ml_dtypes', or strings as objects."""
        dtype = helper.tensor_dtype_to_np_dtype(self.element)
        if self.element == TensorProto.STRING or dtype.char in _PLAIN:
            return np.array(self.value.numpy())
        raw = ctypes.string_at(self.value.data_ptr(), self.value.tensor_size_in_bytes())
        proto = TensorProto(data_type=self.element, dims=self.shape, raw_data=raw)
        return np.array(numpy_helper.to_array(proto))

    def same_as(self, other: Tensor) -> bool:
        """Whether dtype, shape and bits are equal; any NaN is equal to any other."""
        if (self.element, self.shape) != (other.element, other.shape):
            return False
        one, two = self.array, other.array
        if one.dtype == object:
            return bool((one == two).all())
        return one.tobytes() == two.tobytes() or bool(
            _is_float(one) and _same_but_nans(_as_floats(one), _as_floats(two))
        )

    def gap(self, other: Tensor) -> float:
        """The largest absolute difference of two tensors of numbers; infinite where none is."""
        if (self.element, self.shape) != (other.element, other.shape) or not _is_float(self.array):
            return 0.0 if self.same_as(other) else np.inf
        one, two = _as_floats(self.array), _as_floats(other.array)
        with np.errstate(invalid="ignore"):
            apart = np.where((one == two) | (np.isnan(one) & np.isnan(two)), 0, abs(one - two))
        return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max(initial=0))

    def close_to(self, other: Tensor, tolerance: float) -> bool:
        """Whether equal, or floats within ``tolerance``, absolute plus relative."""
        if self.same_as(other):
            return True
        if not np.isfinite(self.gap(other)):
            return False
        one, two = _as_floats(self.array), _as_floats(other.array)
        return bool(np.allclose(one, two, rtol=tolerance, atol=tolerance, equal_nan=True))


def tensor(array: Array) -> Tensor:
    """An array as a tensor of its own dtype; strings are objects."""
    if array.dtype.char in _PLAIN:
        return Tensor(
            OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array).reshape(array.shape))
        )
    return _stored(numpy_helper.from_array(array, "value"))


def _stored(proto: TensorProto) -> Tensor:
    """What a model gives that holds just this tensor: the way in for strings and odd numbers."""
    output = helper.make_tensor_value_info("value", proto.data_type, list(proto.dims))
    graph = helper.make_graph([], "stored", [], [output], [proto])
    opset = helper.make_opsetid("", 21)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Tensor(session.run_with_ort_values(None, {})[0])


def from_proto(proto: onnx.TensorProto) -> Tensor:
    """A stored tensor."""
    return tensor(numpy_helper.to_array(proto))


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or "float" in array.dtype.name


def _as_floats(array: Array) -> npt.NDArray[np.float64]:
    return array.astype(np.float64)


def _same_but_nans(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> bool:
    nans = np.isnan(one)
    same_bits = one.view(np.int64) == two.view(np.int64)
    return bool((nans == np.isnan(two)).all() and (nans | same_bits).all())
