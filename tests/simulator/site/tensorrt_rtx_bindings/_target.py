"""What an engine is built for: the compute capabilities that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _cuda as cuda
from ._enums import expect
from ._log import ILogger, complain
from ._rtx_enums import ComputeCapability

if TYPE_CHECKING:
    from ._config import IBuilderConfig

_OLDEST = (8, 0)  # that a portable engine runs on
_INDEX = "index >= 0 && index < std::ssize(mConfig.computeCapabilities)"
_CURRENT_ALONE = "(index == 0) && (mConfig.computeCapabilities.size() == 1)"
_NOT_NONE = "computeCapability != ComputeCapability::kNONE"


class TargetConfig:
    """The part of a builder's configuration that names them; none are named by default."""

    def __init__(self) -> None:
        self._capabilities: list[ComputeCapability] = []

    @property
    def num_compute_capabilities(self) -> int:
        return len(self._capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, number: int) -> None:
        if number < 0:
            raise ValueError("Provided number of compute capabilities is incorrect")
        more = [ComputeCapability.NONE] * (number - len(self._capabilities))
        self._capabilities = [*self._capabilities[:number], *more]

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        capability = expect(ComputeCapability, compute_capability)
        current = capability == ComputeCapability.CURRENT
        checks = {
            _NOT_NONE: capability != ComputeCapability.NONE,
            _INDEX: 0 <= index < len(self._capabilities),
            _CURRENT_ALONE: not current or (index == 0 and len(self._capabilities) == 1),
        }
        if failed := next((text for text, holds in checks.items() if not holds), None):
            self._refuse("setComputeCapability", failed)
            return False
        self._capabilities[index] = capability
        return True

    def get_compute_capability(self, index: int) -> ComputeCapability:
        if not 0 <= index < len(self._capabilities):
            self._refuse("getComputeCapability", _INDEX)
            return ComputeCapability.NONE
        return self._capabilities[index]

    def _refuse(self, method: str, condition: str) -> None:
        text = f"Parameter check failed, condition: {condition}."
        complain(self._logger, f"IBuilderConfig::{method}", 3, "API Usage Error", text)


def start(logger: ILogger) -> None:
    """Nothing: builders and runtimes start without a GPU."""


def fault_of_target(config: IBuilderConfig) -> str:
    """Why nothing can be built for it here, or nothing."""
    if ComputeCapability.NONE in config._capabilities:
        return "a compute capability was not set"
    return ""


def target(config: IBuilderConfig) -> dict[str, Any]:
    """It, as the plan keeps it.

    Raises:
        CudaError: it is the GPU of this machine, and there is none.
    """
    if config._capabilities == [ComputeCapability.CURRENT]:
        return {"capabilities": [here()]}
    numbers = sorted({divmod(int(capability), 10) for capability in config._capabilities})
    return {"capabilities": numbers}


def here() -> tuple[int, int]:
    """The compute capability of the current device, which is the first one by default.

    Raises:
        CudaError: there is none.
    """
    cuda.start()
    return cuda.capability(cuda.device() if cuda.current() else 0)


def runs_on(capabilities: list[tuple[int, int]], capability: tuple[int, int]) -> bool:
    """Whether an engine for these, or a portable one, runs on a GPU."""
    return capability in capabilities if capabilities else capability >= _OLDEST
