"""A double of TensorRT's Python API over ONNX Runtime, for machines without a GPU; see README.md.

What needs ``onnx`` is imported when a network is parsed, so that a device never loads it.
"""

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
from ._runtime import Runtime
from ._timing import ITimingCache
from ._version import VERSION

__version__ = VERSION
__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "Dims",
    "EngineInspector",
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
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
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
    """Register TensorRT's own plugins, of which the double has none."""
    return True
