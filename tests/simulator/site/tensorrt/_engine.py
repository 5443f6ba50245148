"""Plans -> engines."""

from __future__ import annotations

import json
import math

from . import _cuda as cuda
from . import _faults as faults
from ._context import IExecutionContext, Started
from ._context_factory import ContextFactory
from ._dims import Dims
from ._enums import (
    DataType,
    HardwareCompatibilityLevel,
    LayerInformationFormat,
    TensorIOMode,
    TensorLocation,
)
from ._log import ILogger, complain
from ._memory import Block
from ._plan import Plan, Tensor
from ._session import Sessions

_LEAST_BYTES = 256  # that a context takes for itself


class ICudaEngine(ContextFactory):
    def __init__(self, plan: Plan, model: bytes, logger: ILogger) -> None:
        """Raises ``CudaError`` where the device's memory is too small."""
        self._plan, self._model, self._logger = plan, model, logger
        self._device = cuda.device()
        self._weights = Block(plan.weight_bytes, logger)
        self._sessions = None if plan.stripped else Sessions(model)

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def num_io_tensors(self) -> int:
        return len(self._plan.tensors)

    @property
    def num_layers(self) -> int:
        return len(self._plan.layers)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._plan.profiles)

    @property
    def refittable(self) -> bool:
        return self._plan.refittable

    @property
    def hardware_compatibility_level(self) -> HardwareCompatibilityLevel:
        return HardwareCompatibilityLevel[self._plan.target.get("hardware", "NONE")]

    @property
    def device_memory_size_v2(self) -> int:
        most = [shapes[2] for shapes in self._plan.profiles[0].values()]
        return max(_LEAST_BYTES, 4 * sum(math.prod(shape) for shape in most))

    def get_tensor_name(self, index: int) -> str:
        return self._plan.tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        tensor = self._plan.tensor(name)
        if tensor is None:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if tensor.is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._tensor(name).dtype]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensor(name).shape)

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self._plan.profiles[profile_index].get(name, [])]

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def _new_context(self, started: Started) -> IExecutionContext | None:
        try:
            if faults.due("context"):
                raise cuda.CudaError("failed on request")
            if self._sessions is None:
                raise cuda.CudaError("the engine has no weights yet; refit it")
            if cuda.device() != self._device:
                raise cuda.CudaError("the current device is not the engine's")
            return IExecutionContext(self, Block(self.device_memory_size_v2, self._logger), started)
        except cuda.CudaError as error:
            where = "ICudaEngine::createExecutionContext"
            complain(self._logger, where, 2, "OutOfMemory", str(error))
            return None

    def _take(self, model: bytes) -> None:
        """Compute with this graph, which has all weights, from now on."""
        self._model, self._sessions = model, Sessions(model)

    def _tensor(self, name: str) -> Tensor:
        tensor = self._plan.tensor(name)
        if tensor is None:
            raise ValueError(f"there is no tensor {name}")
        return tensor


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._plan = engine._plan

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        layers = [] if self._plan.verbosity == "NONE" else self._plan.layers
        if format == LayerInformationFormat.ONELINE:
            return "\n".join(layers)
        bindings = [tensor.name for tensor in self._plan.tensors]
        return json.dumps({"Layers": layers, "Bindings": bindings})
