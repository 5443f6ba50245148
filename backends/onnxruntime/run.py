"""ONNX Runtime's device half."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from backends.contract import (
    Array,
    Artifact,
    EngineError,
    Runner,
    Specs,
    Tensors,
    check_inputs,
)
from backends.onnxruntime import Options
from backends.onnxruntime.cuda import OrtCudaRunner
from backends.onnxruntime.session import FAILURES, on_cpu, on_gpu
from backends.options import parse_options


def load(artifact: Artifact, root: Path) -> Runner:
    """Load an ONNX file on the CPU or a GPU.

    Raises:
        EngineError: the file is missing, damaged, or holds operators that this version lacks; or
            there is no such GPU for it.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    path = root / artifact.files[0]
    if options.device == "cuda":
        session = on_gpu(path, options)
        if session is not None:
            return OrtCudaRunner(session, artifact.inputs, artifact.outputs, options.gpu)
    return OrtRunner(on_cpu(path, options), artifact.inputs, artifact.outputs)


class OrtRunner:
    """A session."""

    def __init__(self, session: Any, inputs: Specs, outputs: Specs) -> None:
        self._session = session
        self._inputs = inputs
        self._taken = [spec.name for spec in inputs]
        self._given = [spec.name for spec in outputs]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        if self._session is None:
            raise EngineError("the ONNX Runtime runner is closed")
        arrays = check_inputs(self._inputs, inputs)
        feed = dict(zip(self._taken, arrays, strict=True))
        try:
            found = self._session.run(self._given, feed)
        except FAILURES as error:
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(self._given, found, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
