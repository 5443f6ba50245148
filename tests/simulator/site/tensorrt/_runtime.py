"""Bytes -> engines, where they fit."""

from __future__ import annotations

from . import _cuda as cuda
from . import _faults as faults
from ._engine import ICudaEngine
from ._enums import expect
from ._log import ILogger, complain, say
from ._plan import DamagedError, Plan, unpack
from ._target import start
from ._version import VERSION, numbers

_AMPERE = (8, 0)


class RefusedError(Exception):
    """A plan that does not fit here: the error's code, kind and text."""


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = expect(ILogger, logger)
        self._host_code = False
        start(logger)

    @property
    def engine_host_code_allowed(self) -> bool:
        return self._host_code

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, allowed: bool) -> None:
        self._host_code = expect(bool, allowed)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return self._engine(bytes(serialized_engine))
        except RefusedError as error:
            told = error.args
        except DamagedError as error:
            told = (1, "Serialization", str(error))
        except cuda.CudaError as error:
            told = (2, "OutOfMemory", str(error))
        complain(self._logger, "IRuntime::deserializeCudaEngine", *told)
        return None

    def _engine(self, data: bytes) -> ICudaEngine:
        if faults.due("deserialize"):
            raise RefusedError(1, "Serialization", "failed on request")
        if not cuda.current():
            raise RefusedError(1, "Cuda Runtime", "no CUDA context is current")
        plan, model = unpack(data)
        _check_version(plan)
        self._check_device(plan)
        if plan.has_host_code and not self._host_code:
            text = "the plan holds host code, but engine_host_code_allowed is not set"
            raise RefusedError(4, "API Usage Error", text)
        return ICudaEngine(plan, model, self._logger)

    def _check_device(self, plan: Plan) -> None:
        device = cuda.device()
        here, built = cuda.capability(device), tuple(plan.target["capability"])
        anywhere = plan.target["hardware"] == "AMPERE_PLUS" and here >= _AMPERE
        if here != built and not anywhere:
            text = (
                "The engine plan file is generated on an incompatible device, "
                f"expecting compute {_dotted(here)} got compute {_dotted(built)}, please rebuild."
            )
            raise RefusedError(6, "API Usage Error", text)
        if plan.target["hardware"] == "NONE" and plan.target["gpu"] != cuda.name(device):
            text = "Using an engine plan file across different models of devices is not recommended"
            say(self._logger, text, ILogger.Severity.WARNING)


def _check_version(plan: Plan) -> None:
    built, here = numbers(plan.version), numbers(VERSION)
    later = plan.has_host_code and built[0] == here[0] and built <= here
    if built != here and not later:
        text = (
            "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed. Version tag "
            f"does not match. Note: Current Version: {VERSION}, Serialized Engine Version: "
            f"{plan.version}"
        )
        raise RefusedError(1, "Serialization", text)


def _dotted(capability: tuple[int, ...]) -> str:
    return ".".join(map(str, capability))
