"""Chains in which there is almost nothing but the chain: operators, each an engine of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from backends.contract import Array, Artifact, Runner, Specs, TensorSpec
from backends.onnxruntime.run import load
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import HostRunner
from deploy.runtime.execution.schedule import Step

WIDTH = 64
HOST = ""  # stands for a host step
CHAINS = {
    "tiny": ("Relu", "Neg", "Exp", HOST, "Tanh", "Abs"),
    "ten engines": ("Relu", "Neg", "Exp", "Tanh", "Abs", "Ceil", "Sign", "Sin", "Cos", "Floor"),
}


def tiny(name: str, folder: Path) -> tuple[Chain, dict[str, Array], list[str]]:
    """A chain, its inputs and the names of its outputs; the segments are written to a folder."""
    operators = CHAINS[name]
    steps = [_step(at, operator, folder) for at, operator in enumerate(operators)]
    last = len(operators)
    inputs = {_name(0): np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]}
    return Chain(steps, _specs(0), _specs(last)), inputs, [_name(last)]


def _step(at: int, operator: str, folder: Path) -> tuple[Step, Runner]:
    ends = _specs(at), _specs(at + 1)
    if operator == HOST:
        step = HostStep("half", "half", *ends)
        return step, HostRunner(step, lambda values: {_name(at + 1): values[_name(at)] * 0.5})
    artifact = Artifact(operator, "onnxruntime", (f"{operator}.onnx",), *ends)
    _write(folder / artifact.files[0], operator, _name(at), _name(at + 1))
    return artifact, load(artifact, folder)


def _name(at: int) -> str:
    return f"t{at}"


def _specs(at: int) -> Specs:
    return (TensorSpec(_name(at), "float32", (1, WIDTH)),)


def _write(path: Path, operator: str, source: str, target: str) -> None:
    before, behind = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH])]
        for name in (source, target)
    )
    node = helper.make_node(operator, [source], [target])
    graph = helper.make_graph([node], operator, before, behind)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
