"""Bytes -> engines, where they fit; and whether they do, before they are read."""

from __future__ import annotations

from . import _cuda as cuda
from . import _faults as faults
from ._engine import ICudaEngine
from ._enums import expect
from ._log import ILogger, complain, say
from ._plan import DamagedError, unpack
from ._plan_header import SIZE, is_header, read_header
from ._rtx_enums import EngineInvalidityDiagnostics, EngineValidity
from ._target import here, runs_on
from ._version import VERSION

_MALFORMED = (
    "The engine header does not conform to the expected format for TensorRT-RTX. Ensure that the "
    "engine was created with the same version of TensorRT-RTX as the current runtime."
)


class RefusedError(Exception):
    """An engine that does not fit here: the error's code, kind and text."""


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = expect(ILogger, logger)

    @property
    def engine_header_size(self) -> int:
        return SIZE

    def get_engine_validity(self, buffer: bytes) -> tuple[EngineValidity, int]:
        """By the header alone, as the real one does; without a driver no reason is given."""
        data = bytes(buffer)[:SIZE]
        if not is_header(data):
            say(self._logger, _MALFORMED, ILogger.Severity.INFO)
            return EngineValidity.INVALID, int(EngineInvalidityDiagnostics.MALFORMED_ENGINE)
        version, capabilities = read_header(data)
        if version != VERSION:
            return EngineValidity.INVALID, int(EngineInvalidityDiagnostics.VERSION_MISMATCH)
        try:
            if runs_on(capabilities, here()):
                return EngineValidity.VALID, 0
        except cuda.CudaError as error:
            text = f"Error reading CUDA GPU properties: {error}"
            say(self._logger, text, ILogger.Severity.INTERNAL_ERROR)
            return EngineValidity.INVALID, 0
        return EngineValidity.INVALID, int(EngineInvalidityDiagnostics.UNSUPPORTED_CC)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return self._engine(bytes(serialized_engine))
        except RefusedError as error:
            told = error.args
        except DamagedError as error:
            told = (2, "Internal Error", str(error))
        except cuda.CudaError as error:
            told = (1, "Cuda Runtime", str(error))
        complain(self._logger, "IRuntime::deserializeCudaEngine", *told)
        return None

    def _engine(self, data: bytes) -> ICudaEngine:
        if faults.due("deserialize"):
            raise RefusedError(2, "Internal Error", "failed on request")
        plan, model = unpack(data)
        if self.get_engine_validity(data)[0] == EngineValidity.INVALID:
            raise RefusedError(4, "API Usage Error", "the engine is not valid here")
        if not cuda.current():
            raise RefusedError(1, "Cuda Runtime", "no CUDA context is current")
        return ICudaEngine(plan, model, self._logger)
