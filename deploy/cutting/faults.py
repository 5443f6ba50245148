"""Files that break ONNX's rules: one error, whatever the graph's libraries make of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from google.protobuf.message import EncodeError

from backends.onnx_file import OnnxFileError
from deploy.exported import Exported

_FAULTS = (  # what the graph's libraries raise
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OverflowError,
    EncodeError,
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
)


@contextmanager
def faults_of_a_file(exported: Exported) -> Iterator[None]:
    """What the graph's libraries make of a file that breaks ONNX's rules; an export keeps them."""
    try:
        yield
    except _FAULTS as error:
        if not exported.by_name:
            raise
        raise OnnxFileError(
            f"model '{exported.onnx}' breaks ONNX's rules: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}",
            do="Save it again with an exporter that you trust.",
        ) from error
