"""Host steps: Python over NumPy between the engines of a chain, found by a registered id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

import numpy as np

from backends.contract import (
    Array,
    Artifact,
    DeployError,
    EngineError,
    Runner,
    TensorError,
    Tensors,
    TensorSpec,
)
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.registered import all_registered, find_registered, model_table


class HostStepError(DeployError):
    """A host step that failed, or gave what it should not."""


class HostFunction(Protocol):
    """The code of a host step; may be called from several threads."""

    def __call__(self, inputs: Tensors, /) -> dict[str, Array]:
        """Tensors by name to tensors by name."""
        ...


Segment = Callable[[Tensors], dict[str, Array]]


HostFactory = Callable[..., HostFunction]
"""Makes the code of a step from its params, and from ``segments`` by name where it calls some."""


class HostRunner:
    """A host step as a chain runs it; see ``Runner``."""

    def __init__(self, step: HostStep, function: HostFunction) -> None:
        self._step = step
        self._function = function

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            HostStepError: the code raised, or a tensor is missing, of another dtype or shape, or
                holds a NaN.
        """
        try:
            found = self._function(inputs)
        except DeployError:
            raise
        except Exception as error:  # whatever it is, the step is to be named
            raise HostStepError(f"{type(error).__name__}: {error}") from error
        return {spec.name: _checked(spec, found) for spec in self._step.outputs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _checked(spec: TensorSpec, found: Tensors) -> Array:
    if spec.name not in found:
        raise HostStepError(f"output '{spec.name}'", expected=str(spec), got="none")
    array = np.asarray(found[spec.name])
    if array.dtype != spec.dtype or not spec.accepts(array.shape):
        raise HostStepError(
            f"output '{spec.name}'", expected=str(spec), got=f"{array.dtype}{list(array.shape)}"
        )
    if array.dtype.kind == "f" and _holds_nan(array):
        raise HostStepError(f"output '{spec.name}' holds a NaN")
    return array


def _holds_nan(array: Array) -> bool:
    """The least value is NaN wherever one value is."""
    return bool(np.isnan(array.min(initial=0)))


_FLOATS = ("float16", "float32")
_ENTRY_POINTS = "deploy.host_steps"


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


def make_host_function(step: HostStep, segments: Mapping[str, Segment]) -> HostFunction:
    """The code of a step.

    Args:
        step: the step.
        segments: the engine steps that it calls.

    Raises:
        HostStepError: nothing is registered under its id, or it does not take its parameters.
    """
    made = factory(step.name, step.id)
    given = {**step.params, "segments": segments} if step.calls else step.params
    try:
        return made(**given)
    except (TypeError, ValueError) as error:
        raise HostStepError(
            f"host step '{step.name}' ({step.id}) does not take its parameters: {error}"
        ) from error


def factory(step: str, id: str) -> HostFactory:
    """The code registered under an id.

    Args:
        step: the step's name.
        id: of its code.

    Raises:
        HostStepError: nothing is registered under it.
    """
    found, known = find_registered(id, _shipped(), _ENTRY_POINTS)
    if found is None:
        raise HostStepError(
            f"host step '{step}'",
            expected=f"one of {', '.join(sorted(known))}",
            got=repr(id),
            do=f"Correct its id, or register its code as an entry point in '{_ENTRY_POINTS}'.",
        )
    made: HostFactory = found
    return made


def registered_host_steps() -> dict[str, HostFactory]:
    """Every host step of the models in this package, and of installed entry points."""
    return all_registered(_shipped(), _ENTRY_POINTS)


def _shipped() -> Mapping[str, HostFactory]:
    return model_table("host", "HOST_STEPS")
