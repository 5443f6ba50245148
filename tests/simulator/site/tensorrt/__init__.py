"""A double of TensorRT's Python API over ONNX Runtime, for machines without a GPU; see README.md.

What needs ``onnx`` is imported when a network is parsed, so that a device never loads it.
"""

from tensorrt._allocator import IOutputAllocator
from tensorrt._builder import Builder
from tensorrt._config import IBuilderConfig, IOptimizationProfile
from tensorrt._context import IExecutionContext
from tensorrt._dims import Dims, volume
from tensorrt._engine import EngineInspector, ICudaEngine
from tensorrt._enums import (
    BuilderFlag,
    DataType,
    ErrorCode,
    HardwareCompatibilityLevel,
    LayerInformationFormat,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
    nptype,
)
from tensorrt._log import ILogger, Logger
from tensorrt._memory import IHostMemory
from tensorrt._network import INetworkDefinition, ITensor
from tensorrt._parser import OnnxParser, OnnxParserRefitter, ParserError
from tensorrt._refit import Refitter
from tensorrt._runtime import Runtime
from tensorrt._timing import ITimingCache
from tensorrt._version import VERSION

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
