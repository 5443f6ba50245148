"""What an engine is built for: the GPU at hand, and others where that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _cuda as cuda
from ._enums import HardwareCompatibilityLevel
from ._log import ILogger, complain

if TYPE_CHECKING:
    from ._config import IBuilderConfig

_AMPERE = (8, 0)


class TargetConfig:
    """The part of a builder's configuration that says it."""

    def __init__(self) -> None:
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE


def start(logger: ILogger) -> None:
    """Start CUDA, as the constructors of builders and runtimes do."""
    try:
        cuda.start()
    except cuda.CudaError as error:
        complain(logger, "checkCudaInitialization", 6, "API Usage Error", str(error))
        raise TypeError("pybind11::init(): factory function returned nullptr") from error


def fault_of_target(config: IBuilderConfig) -> str:
    """Why nothing can be built for it here, or nothing."""
    if not cuda.current():
        return "no CUDA context is current"
    ampere = config.hardware_compatibility_level == HardwareCompatibilityLevel.AMPERE_PLUS
    if ampere and cuda.capability(cuda.device()) < _AMPERE:
        return "hardware compatibility needs a GPU from Ampere on"
    return ""


def target(config: IBuilderConfig) -> dict[str, Any]:
    """It, as the plan keeps it."""
    device = cuda.device()
    return {
        "gpu": cuda.name(device),
        "capability": list(cuda.capability(device)),
        "hardware": config.hardware_compatibility_level.name,
    }
