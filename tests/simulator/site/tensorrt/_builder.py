"""Networks -> plans."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tensorrt import _cuda as cuda
from tensorrt import _faults as faults
from tensorrt._config import IBuilderConfig, IOptimizationProfile
from tensorrt._enums import (
    BuilderFlag,
    HardwareCompatibilityLevel,
    NetworkDefinitionCreationFlag,
    expect,
)
from tensorrt._log import ILogger, complain
from tensorrt._memory import IHostMemory
from tensorrt._network import INetworkDefinition
from tensorrt._plan import Plan, Ranges, Tensor, pack
from tensorrt._profiles import complete, faults_of_profiles
from tensorrt._session import Session
from tensorrt._version import VERSION

if TYPE_CHECKING:
    import onnx

_TYPED = 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
_AMPERE = (8, 0)
_NO_ARRAYS = ("BF16", "FP8", "INT4")  # NumPy has no such types


class UnbuildableError(Exception):
    """No plan can be made of this."""


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = expect(ILogger, logger)
        self._networks = 0
        started(logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition | None:
        # the real one takes weakly typed networks too, but only TensorRT 10 does
        if not int(flags) & _TYPED:
            self._complain("createNetworkV2", "only strongly typed networks are supported")
            return None
        self._networks += 1
        return INetworkDefinition(f"Unnamed Network {self._networks - 1}")

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        try:
            if faults.due("build"):
                raise UnbuildableError("failed on request")
            return IHostMemory(_built(network, config))
        except (UnbuildableError, cuda.CudaError) as error:
            self._complain("buildSerializedNetwork", str(error))
            return None

    def _complain(self, method: str, text: str) -> None:
        complain(self._logger, f"IBuilder::{method}", 4, "API Usage Error", text)


def started(logger: ILogger) -> None:
    """Start CUDA, as the constructors of builders and runtimes do."""
    try:
        cuda.start()
    except cuda.CudaError as error:
        complain(logger, "checkCudaInitialization", 6, "API Usage Error", str(error))
        raise TypeError("pybind11::init(): factory function returned nullptr") from error


def _built(network: INetworkDefinition, config: IBuilderConfig) -> bytes:
    from tensorrt import _prepare

    _check(network, config)
    model = _prepare.prepare(_parsed(network))
    plan = _plan(network, config, model)
    data = model.SerializeToString()
    _try(data, plan)
    _record(config, plan, data)
    if plan.stripped:
        _prepare.strip(model.graph)
        data = model.SerializeToString()
    return pack(plan, data)


def _parsed(network: INetworkDefinition) -> onnx.ModelProto:
    if network._model is None:
        raise UnbuildableError("Network must have at least one output")
    return network._model


def _check(network: INetworkDefinition, config: IBuilderConfig) -> None:
    if not cuda.current():
        raise UnbuildableError("no CUDA context is current")
    ampere = config.hardware_compatibility_level == HardwareCompatibilityLevel.AMPERE_PLUS
    if ampere and cuda.capability(cuda.device()) < _AMPERE:
        raise UnbuildableError("hardware compatibility needs a GPU from Ampere on")
    if found := faults_of_profiles(_shapes(network), _profiles(config)):
        raise UnbuildableError("; ".join(found))
    for tensor in network._inputs:
        if tensor.is_shape_tensor:
            raise UnbuildableError(f"the double takes no shape tensors as inputs: {tensor.name}")


def _shapes(network: INetworkDefinition) -> dict[str, list[int]]:
    return {tensor.name: tensor._shape for tensor in network._inputs}


def _profiles(config: IBuilderConfig) -> list[Ranges]:
    return [profile._shapes for profile in config._profiles]


def _plan(network: INetworkDefinition, config: IBuilderConfig, model: onnx.ModelProto) -> Plan:
    from tensorrt import _prepare

    device = cuda.device()
    flags = sorted(flag.name for flag in config._flags)
    plan = Plan(
        version=VERSION,
        gpu=cuda.name(device),
        capability=list(cuda.capability(device)),
        flags=flags,
        hardware=config.hardware_compatibility_level.name,
        verbosity=config.profiling_verbosity.name,
        name=network.name,
        tensors=_tensors(network, model),
        profiles=complete(_shapes(network), _profiles(config)),
        layers=[node.name or node.op_type for node in _parsed(network).graph.node],
        weights={},
        weight_bytes=_prepare.weight_bytes(model.graph),
    )
    if plan.refittable:
        plan.weights.update(_prepare.weights(model.graph))
    return plan


def _tensors(network: INetworkDefinition, model: onnx.ModelProto) -> list[Tensor]:
    from tensorrt._graph import inputs
    from tensorrt._prepare import symbols

    named = {value.name: symbols(value) for value in inputs(model.graph)}
    return [
        Tensor(one.name, one.name in named, one.dtype.name, one._shape, named.get(one.name, []))
        for one in (*network._inputs, *network._outputs)
    ]


def _try(model: bytes, plan: Plan) -> None:
    """Whether ONNX Runtime, which stands for the GPU's kernels, takes the graph."""
    for tensor in plan.tensors:
        if tensor.dtype in _NO_ARRAYS:
            raise UnbuildableError(f"the double has no {tensor.dtype} inputs or outputs")
    usual = {name: shapes[1] for name, shapes in plan.profiles[0].items()}
    try:
        Session(model, plan.sizes(usual))
    except Exception as error:
        raise UnbuildableError(f"Could not find any implementation for a node: {error}") from error


def _record(config: IBuilderConfig, plan: Plan, model: bytes) -> None:
    """A build with the same graph and configuration is measured once."""
    if config._cache is None or config.get_flag(BuilderFlag.DISABLE_TIMING_CACHE):
        return
    what = f"{plan.flags} {plan.profiles} {config.builder_optimization_level}"
    digest = hashlib.sha256(what.encode() + model).hexdigest()
    config._cache._timings.entries.setdefault(digest, 1)
