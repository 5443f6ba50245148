"""A segment as a host step calls it: named where it fails, and in the dtypes that it takes."""

from __future__ import annotations

from backends.contract import Array, Artifact, EngineError, Runner, TensorError, Tensors

_FLOATS = ("float16", "float32")


class Call:
    """Runs an engine step; floats of the other precision are converted, as between two steps."""

    def __init__(self, step: Artifact, runner: Runner) -> None:
        self._name = step.name
        self._runner = runner
        self._floats = {spec.name: spec.dtype for spec in step.inputs if spec.dtype in _FLOATS}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            EngineError: the engine failed, or a tensor is not as it takes it; the segment is named.
        """
        try:
            return self._runner({name: self._taken(name, inputs[name]) for name in inputs})
        except (EngineError, TensorError) as error:
            raise EngineError(f"segment '{self._name}': {error}") from error

    def _taken(self, name: str, array: Array) -> Array:
        if name in self._floats and array.dtype in _FLOATS:
            return array.astype(self._floats[name], copy=False)
        return array
