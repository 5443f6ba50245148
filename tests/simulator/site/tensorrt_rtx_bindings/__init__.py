"""A double of TensorRT for RTX, made of the double of TensorRT; see README.md there."""

from . import _shared as _shared  # first: the other modules are found by it
from ._allocator import IOutputAllocator
from ._builder import Builder
from ._config import IBuilderConfig, IOptimizationProfile
from ._context import IExecutionContext
from ._dims import Dims, volume
from ._engine import EngineInspector, ICudaEngine
from ._enums import (
    BuilderFlag,
    DataType,
    ErrorCode,
    HardwareCompatibilityLevel,
    LayerInformationFormat,
    LayerType,
    MemoryPoolType,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
    nptype,
)
from ._log import ILogger, Logger
from ._memory import IHostMemory
from ._network import INetworkDefinition, ITensor
from ._network_flags import NetworkDefinitionCreationFlag
from ._parser import OnnxParser, OnnxParserRefitter, ParserError
from ._refit import Refitter
from ._rtx_enums import (
    ComputeCapability,
    CudaGraphStrategy,
    DynamicShapesKernelSpecializationStrategy,
    EngineInvalidityDiagnostics,
    EngineValidity,
)
from ._runtime import Runtime
from ._runtime_cache import IRuntimeCache
from ._runtime_config import IRuntimeConfig
from ._version import VERSION

__version__ = VERSION
__all__ = [
    "Builder",
    "BuilderFlag",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DataType",
    "Dims",
    "DynamicShapesKernelSpecializationStrategy",
    "EngineInspector",
    "EngineInvalidityDiagnostics",
    "EngineValidity",
    "ErrorCode",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "LayerInformationFormat",
    "LayerType",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "OnnxParserRefitter",
    "ParserError",
    "ProfilingVerbosity",
    "Refitter",
    "Runtime",
    "TensorIOMode",
    "TensorLocation",
    "__version__",
    "init_libnvinfer_plugins",
    "nptype",
    "volume",
]


def init_libnvinfer_plugins(logger: ILogger | None, namespace: str) -> bool:
    """Register plugins, of which the double has none."""
    return True
