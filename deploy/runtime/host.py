"""Host steps: Python over NumPy between the engines of a chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from backends.contract import Array, DeployError, Specs, Tensors, TensorSpec


class HostStepError(DeployError):
    """A host step that failed, or gave what it should not."""


@dataclass(frozen=True)
class HostStep:
    """A host step of a chain.

    Attributes:
        name: of the step.
        id: under which its code is registered.
        inputs: the tensors that it takes.
        outputs: the tensors that it gives.
        params: keyword arguments of its code.
        calls: engine steps that it runs itself, as often as it likes; the chain runs them no more.
    """

    name: str
    id: str
    inputs: Specs
    outputs: Specs
    params: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[str, ...] = ()


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
