"""The outputs of a segment by ONNX's own reference implementation."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from backends.contract import Array, ConversionError, Segment, Tensors
from backends.onnx.functions import inline_local_functions

# what it raises where it has no implementation, or where the values do not fit
_FAILURES = (
    NotImplementedError,
    AttributeError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def reference_outputs(segment: Segment, inputs: Tensors) -> dict[str, Array]:
    """The segment's outputs by name.

    Raises:
        ConversionError: the reference implementation lacks an operator of the file, or fails.
    """
    names = [spec.name for spec in segment.outputs]
    try:
        # it knows functions only in the order of their calls
        model = inline_local_functions(onnx.load(segment.onnx))
        outputs = ReferenceEvaluator(model).run(names, dict(inputs))
    except _FAILURES as error:
        reason = (
            str(error).partition("\n")[0][:200] if isinstance(error, NotImplementedError) else ""
        )
        raise ConversionError(
            f"segment '{segment.name}' cannot be checked on noise: ONNX's reference implementation "
            f"fails: {type(error).__name__} {reason}".rstrip(),
            do="Pass --sample FILE.npz with inputs and outputs, or --no-check.",
        ) from error
    return {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}
