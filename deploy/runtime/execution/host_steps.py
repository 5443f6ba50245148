"""Host steps: Python over NumPy between the engines of a chain, found by a registered id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np

from backends.codec import FormatError
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
from deploy.runtime.execution.registered import all_registered, find_registered, shipped_table
from deploy.runtime.execution.step_params import read_params

_ENTRY_POINTS = "deploy.host_steps"
_FLOATS = ("float16", "float32")


class HostStepError(DeployError):
    """A host step that failed, or whose outputs are not as its recipe says."""


class HostFunction(Protocol):
    """The code of a host step; may be called from several threads."""

    def __call__(self, inputs: Tensors, /) -> dict[str, Array]:
        """Tensors by name to tensors by name."""
        ...


SegmentFunction = Callable[[Tensors], dict[str, Array]]
"""An engine step as a host step calls it: its inputs by name to its outputs by name."""


HostFactory = Callable[..., HostFunction]
"""Creates the code of a host step from its params, and from ``segments`` if it calls engines.

Example::

    class Threshold:
        def __init__(self, limit: float) -> None:
            self.limit = limit

        def __call__(self, inputs: Tensors) -> dict[str, Array]:
            return {"mask": inputs["scores"] > self.limit}
"""


class HostRunner:
    """A host step as a chain runs it; see ``Runner``."""

    def __init__(self, step: HostStep, function: HostFunction) -> None:
        self._step = step
        self._function = function

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            HostStepError: the code raised, or an output is missing, of another dtype or shape, or
                holds a NaN.
        """
        try:
            outputs = self._function(inputs)
        except DeployError:
            raise
        except Exception as error:  # whatever it is, the step is to be named
            raise HostStepError(f"{type(error).__name__}: {error}") from error
        return {spec.name: _checked_output(spec, outputs) for spec in self._step.outputs}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _checked_output(spec: TensorSpec, outputs: Tensors) -> Array:
    if spec.name not in outputs:
        raise HostStepError(f"output '{spec.name}'", expected=str(spec), got="none")
    array = np.asarray(outputs[spec.name])
    if array.dtype != spec.dtype or not spec.accepts(array.shape):
        raise HostStepError(
            f"output '{spec.name}'", expected=str(spec), got=f"{array.dtype}{list(array.shape)}"
        )
    if array.dtype.kind == "f" and _holds_nan(array):
        raise HostStepError(f"output '{spec.name}' holds a NaN")
    return array


def _holds_nan(array: Array) -> bool:
    """Faster than isnan of all: the minimum is NaN where one value is."""
    return bool(np.isnan(array.min(initial=0)))


class SegmentCall:
    """Runs an engine step for a host step, and converts float16 and float32 as a chain does."""

    def __init__(self, step: Artifact, runner: Runner) -> None:
        self._name = step.name
        self._runner = runner
        floats = [spec for spec in step.inputs if spec.dtype in _FLOATS]
        self._floats = {spec.name: np.dtype(spec.dtype) for spec in floats}

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            EngineError: the engine failed, or an input is missing, unknown, or of another dtype or
                shape; the segment is named.
        """
        differing = [
            name
            for name, dtype in self._floats.items()
            if name in inputs and inputs[name].dtype != dtype
        ]
        try:
            return self._runner(self._converted(inputs, differing) if differing else inputs)
        except (EngineError, TensorError) as error:
            raise EngineError(f"segment '{self._name}': {error}") from error

    def _converted(self, inputs: Tensors, names: Sequence[str]) -> Tensors:
        floats = [name for name in names if inputs[name].dtype in _FLOATS]
        return {**inputs, **{name: inputs[name].astype(self._floats[name]) for name in floats}}


def make_host_function(step: HostStep, segments: Mapping[str, SegmentFunction]) -> HostFunction:
    """Create the code of a host step.

    Args:
        step: the step.
        segments: the engine steps that it calls, by name.

    Raises:
        HostStepError: nothing is registered under its id, or it does not take its parameters.
    """
    called = segments if step.calls else {}
    return create_host_function(step.name, step.id, step.params, called)


def create_host_function(
    step: str, id: str, params: Mapping[str, Any], segments: Mapping[str, SegmentFunction]
) -> HostFunction:
    """Create the code that is registered under an id.

    Args:
        step: the step's name, for errors.
        id: such as ``mask_rcnn.proposals``.
        params: as a manifest or a recipe has them.
        segments: the engine steps that it calls, by name; empty where it calls none.

    Raises:
        HostStepError: nothing is registered under the id, or it does not take its parameters.
    """
    factory = host_factory(step, id)
    arguments = host_arguments(step, id, params, bool(segments))
    if segments:
        arguments["segments"] = segments
    try:
        return factory(**arguments)
    except DeployError:
        raise
    except Exception as error:  # whatever it is, the step is to be named
        raise _refusal(step, id, error) from error


def host_arguments(
    step: str, id: str, params: Mapping[str, Any], calls_segments: bool
) -> dict[str, Any]:
    """The checked parameters of a host step, as keyword arguments of its factory.

    Args:
        step: the step's name, for errors.
        id: such as ``mask_rcnn.proposals``.
        params: as a manifest or a recipe has them.
        calls_segments: whether the factory also gets ``segments``.

    Raises:
        HostStepError: nothing is registered under the id, or it does not take these parameters.
    """
    factory = host_factory(step, id)
    try:
        return read_params(factory, params, ["segments"] if calls_segments else [])
    except FormatError as error:
        raise _refusal(step, id, error) from error


def _refusal(step: str, id: str, error: Exception) -> HostStepError:
    return HostStepError(f"host step '{step}' ({id}) does not take its parameters: {error}")


def host_factory(step: str, id: str) -> HostFactory:
    """The factory that is registered under an id.

    Args:
        step: the step's name, for the error.
        id: such as ``mask_rcnn.proposals``.

    Raises:
        HostStepError: nothing is registered under it.
    """
    registered, known = find_registered(id, _shipped(), _ENTRY_POINTS)
    if registered is None:
        raise HostStepError(
            f"host step '{step}'",
            expected=f"one of {', '.join(sorted(known))}",
            got=repr(id[:200]),
            do=f"Correct its id, or register its code as an entry point in '{_ENTRY_POINTS}'.",
        )
    factory: HostFactory = registered
    return factory


def registered_host_steps() -> dict[str, HostFactory]:
    """Every host step of this package, and of installed ones."""
    return all_registered(_shipped(), _ENTRY_POINTS)


def _shipped() -> Mapping[str, HostFactory]:
    return shipped_table("host", "HOST_STEPS")
