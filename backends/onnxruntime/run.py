"""ONNX Runtime's device half."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    files_of,
)
from backends.onnx.locations import external_data_locations
from backends.onnx.protobuf import WireError
from backends.onnxruntime import Options
from backends.onnxruntime.cuda import OrtCudaRunner
from backends.onnxruntime.session import FAILURES, on_cpu, on_gpu
from backends.options import parse_options


def load(artifact: Artifact, root: Path) -> Runner:
    """Load an ONNX file on the CPU or a GPU.

    Raises:
        EngineError: the file is missing, damaged, or has operators that this version lacks; or
            there is no such GPU.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    path, *weights = files_of(artifact, root, (1, 2))
    _check_locations(path, weights)
    if options.device == "cuda":
        session = on_gpu(path, options)
        if session is not None:
            return OrtCudaRunner(session, artifact.inputs, artifact.outputs, options.gpu)
    return OrtRunner(on_cpu(path, options), artifact.inputs, artifact.outputs)


def _check_locations(path: Path, weights: Sequence[Path]) -> None:
    """Refuse a model that names other files than the artifact's, whose hashes were checked."""
    allowed = {os.fsencode(os.path.relpath(file, path.parent)) for file in weights}
    try:
        locations = external_data_locations(path)
    except (OSError, WireError) as error:
        raise EngineError(f"'{path.name}' is not an ONNX file: {error}") from error
    if path.suffix != ".onnx" or not locations <= allowed:
        raise EngineError(
            f"'{path.name}' names files beside it",
            expected=", ".join(file.name for file in weights) or "none",
            got=", ".join(sorted(repr(name[:80]) for name in locations - allowed))
            or "another ending",
            do="Make the bundle again.",
        )


class OrtRunner:
    """A session on the CPU; see ``Runner``."""

    def __init__(self, session: Any, inputs: Specs, outputs: Specs) -> None:
        self._session = session
        self._inputs = inputs
        self._input_names = [spec.name for spec in inputs]
        self._output_names = [spec.name for spec in outputs]

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once; see ``Runner``."""
        if self._session is None:
            raise EngineError("the ONNX Runtime runner is closed")
        arrays = check_inputs(self._inputs, inputs)
        feed = dict(zip(self._input_names, arrays, strict=True))
        try:
            values = self._session.run(self._output_names, feed)
        except FAILURES as error:
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        return dict(zip(self._output_names, values, strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
