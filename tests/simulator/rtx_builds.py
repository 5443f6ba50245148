"""Engines of the real TensorRT for RTX, built in a child process on the simulated driver."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.simulator import Driver, library

_ROOT = Path(__file__).parents[2]
_ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120, 121)
_KINDS = ["module", *(f"{kind} sm_{sm}" for kind in ("cubin", "ptx") for sm in _ARCHITECTURES)]
_PRELUDE = "from tests.simulator.rtx_builds import *\n"


def run_rtx_child(program: str, devices: str = "A:8.6:1073741824") -> Any:
    """What a program passes to ``answer``.

    The real library runs in a process of its own, without the doubles that this process has.
    """
    variables = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "LD_LIBRARY_PATH": str(library().parent),
        "SIM_CUDA_DEVICES": devices,
    }
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + program],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# ---- in the child process ----


def answer(value: object) -> None:
    """Hand a result to the test."""
    print(json.dumps(value))


def open_context() -> None:
    """Make the first device's primary context current, as TensorRT's own code expects it."""
    driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
    assert driver.cuInit(0) == 0
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert driver.cuCtxSetCurrent(context) == 0


def onnx_file(precision: str = "float32", weights: bool = True) -> bytes:
    """An ONNX file: a matrix product in a precision, or a ReLU, which has no weights."""
    from onnx import TensorProto, checker, numpy_helper
    from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[precision]
    matrix = np.ones((8, 16), precision)
    product = make_node("MatMul", ["x", "w"], ["y"], name="product")
    nodes = [product] if weights else [make_node("Relu", ["x"], ["y"], name="relu")]
    columns = 16 if weights else 8
    graph = make_graph(
        nodes,
        "linear",
        [make_tensor_value_info("x", kind, [4, 8])],
        [make_tensor_value_info("y", kind, [4, columns])],
        [numpy_helper.from_array(matrix, "w")] if weights else [],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class Builds:
    """Builds engines and keeps what is logged; the library takes one logger per process."""

    def __init__(self) -> None:
        import tensorrt_rtx_bindings as trt

        class Messages(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.all: list[tuple[object, str]] = []

            def log(self, severity: object, message: str) -> None:
                self.all.append((severity, message))

        self.trt = trt
        self.messages = Messages()
        self.runtime = trt.Runtime(self.messages)

    def errors(self) -> str:
        """The errors since the last call."""
        severe = (self.trt.ILogger.ERROR, self.trt.ILogger.INTERNAL_ERROR)
        lines = [message for severity, message in self.messages.all if severity in severe]
        self.messages.all.clear()
        return "\n".join(lines)

    def build(
        self,
        model: bytes,
        targets: Sequence[str] = (),
        flags: Sequence[str] = (),
        refittable: Sequence[str] = (),
    ) -> bytes | None:
        """The plan, or None; portable without targets."""
        trt = self.trt
        builder = trt.Builder(self.messages)
        network = builder.create_network()
        parser = trt.OnnxParser(network, self.messages)
        assert parser.parse(model), parser.get_error(0).desc()
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if targets:
            config.num_compute_capabilities = len(targets)
        for position, target in enumerate(targets):
            capability = getattr(trt.ComputeCapability, target)
            assert config.set_compute_capability(capability, position)
        for weights in refittable:
            assert network.mark_weights_refittable(weights)
        for flag in flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        plan = builder.build_serialized_network(network, config)
        return None if plan is None else bytes(plan)

    def layers(self) -> str:
        """What the builder logged of the last engine's layers and tensors."""
        (text,) = [message for _, message in self.messages.all if message.startswith("Layers:")]
        return text

    def validity(self, plan: bytes) -> tuple[str, int]:
        """What the runtime says of an engine, or of its header: a word, and a mask of reasons."""
        verdict, reasons = self.runtime.get_engine_validity(plan)
        return verdict.name, int(reasons)


def modules() -> Counter[str]:
    """The modules that the driver was to load so far, by what they were compiled for."""
    driver = Driver()
    numbers = {kind: driver.count(kind) for kind in _KINDS}
    return Counter({kind: number for kind, number in numbers.items() if number})
