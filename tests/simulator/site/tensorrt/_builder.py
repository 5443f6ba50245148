"""Networks -> plans."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from . import _cuda as cuda
from . import _faults as faults
from ._config import IBuilderConfig, IOptimizationProfile
from ._enums import BuilderFlag, ProfilingVerbosity, expect
from ._log import ILogger, complain, say
from ._memory import IHostMemory
from ._network import INetworkDefinition, ITensor
from ._network_flags import fault_of_flags
from ._plan import Plan, Ranges, Tensor, pack
from ._profiles import complete, faults_of_profiles
from ._session import Session
from ._target import fault_of_target, start, target
from ._version import VERSION

if TYPE_CHECKING:
    import onnx

_WORDS = {"FLOAT": "Float", "HALF": "Half", "BF16": "BFloat16"}  # others are capitalised
_NO_ARRAYS = ("BF16", "FP8", "INT4")  # NumPy has no such types


class UnbuildableError(Exception):
    """No plan can be made of this."""


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = expect(ILogger, logger)
        self._networks = 0
        start(logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition | None:
        if fault := fault_of_flags(int(flags)):
            self._complain("createNetworkV2", fault)
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
            plan = IHostMemory(_built(network, config))
        except (UnbuildableError, cuda.CudaError) as error:
            self._complain("buildSerializedNetwork", str(error))
            return None
        if config.profiling_verbosity == ProfilingVerbosity.DETAILED:
            say(self._logger, _described(network), ILogger.VERBOSE)
        return plan

    def _complain(self, method: str, text: str) -> None:
        complain(self._logger, f"IBuilder::{method}", 4, "API Usage Error", text)


def _described(network: INetworkDefinition) -> str:
    """The layers as the builder tells them."""
    lines = []
    for layer in network._layers:
        outputs = ", ".join(
            f"{{ Name: {one.name}, Dimensions: {one._shape}, Datatype: {_word(one)} }}"
            for one in layer._outputs
        )
        lines.append(
            f"Name: {layer.name}, LayerType: kgen, Inputs: [], Constants: [], "
            f"Outputs: [ {outputs}], TacticName: , StreamId: 0, "
            f"Metadata: [ONNX Layer: {layer.name}]"
        )
    return "\n".join(["Layers:", *lines])


def _word(tensor: ITensor) -> str:
    return _WORDS.get(tensor.dtype.name, tensor.dtype.name.capitalize())


def _built(network: INetworkDefinition, config: IBuilderConfig) -> bytes:
    from . import _prepare

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
    if fault := fault_of_target(config):
        raise UnbuildableError(fault)
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
    from . import _prepare

    flags = sorted(flag.name for flag in config._flags)
    plan = Plan(
        version=VERSION,
        target=target(config),
        flags=flags,
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
    from ._graph import inputs
    from ._prepare import symbols

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
