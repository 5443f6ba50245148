"""A segment as a host step calls it: named where it fails, and in the dtypes that it takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.contract import Array, Artifact, EngineError, Runner, TensorError, Tensors

_FLOATS = ("float16", "float32")


class Call:
    """Runs an engine step; floats of the other precision are converted, as between two steps."""

    def __init__(self, step: Artifact, runner: Runner) -> None:
        self._name = step.name
        self._runner = runner
        floats = [spec for spec in step.inputs if spec.dtype in _FLOATS]
        self._floats = {spec.name: np.dtype(spec.dtype) for spec in floats}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            EngineError: the engine failed, or a tensor is not as it takes it; the segment is named.
        """
        floats = self._floats.items()
        other = [name for name, kind in floats if name in inputs and inputs[name].dtype != kind]
        try:
            return self._runner(self._converted(inputs, other) if other else inputs)
        except (EngineError, TensorError) as error:
            raise EngineError(f"segment '{self._name}': {error}") from error

    def _converted(self, inputs: Tensors, names: Sequence[str]) -> Tensors:
        halves = [name for name in names if inputs[name].dtype in _FLOATS]
        return {**inputs, **{name: inputs[name].astype(self._floats[name]) for name in halves}}
