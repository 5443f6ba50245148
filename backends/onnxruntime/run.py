"""ONNX Runtime's device half."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from backends.contract import Array, Artifact, EngineError, Specs, Tensors, check_inputs
from backends.onnxruntime import Options
from backends.options import parse_options

_ERRORS_ONLY = 3
# the engine's exceptions have no base class of their own
FAILURES = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoModel,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)


def load(artifact: Artifact, root: Path) -> OrtRunner:
    """Load an ONNX file on the CPU.

    Raises:
        EngineError: the file is missing, damaged, or holds operators that this version lacks.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    asked = ort.SessionOptions()
    asked.intra_op_num_threads = options.threads
    asked.log_severity_level = _ERRORS_ONLY
    path = root / artifact.files[0]
    try:
        session = ort.InferenceSession(path, asked, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        raise EngineError(f"'{path.name}' does not load: {error}") from error
    return OrtRunner(session, artifact.inputs, artifact.outputs)


class OrtRunner:
    """A session."""

    def __init__(self, session: Any, inputs: Specs, outputs: Specs) -> None:
        self._session = session
        self._inputs = inputs
        self._names = [spec.name for spec in outputs]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        if self._session is None:
            raise EngineError("the ONNX Runtime runner is closed")
        arrays = check_inputs(self._inputs, inputs)
        feed = {spec.name: array for spec, array in zip(self._inputs, arrays, strict=True)}
        try:
            found = self._session.run(self._names, feed)
        except FAILURES as error:
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(self._names, found, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
