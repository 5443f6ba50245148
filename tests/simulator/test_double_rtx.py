"""What the double of TensorRT for RTX does otherwise than the double of TensorRT."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests.simulator.engines import (
    ADD,
    ONES,
    SCALE,
    SIZES,
    Call,
    build,
    current,
    engine,
    listener,
    load,
    model,
    numbers,
    weighted,
)

RTX = "tensorrt_rtx_bindings"


@pytest.fixture
def rtx_log(on_gpu):
    """A listener to what TensorRT for RTX says."""
    return listener(RTX)


def capabilities(*names: str):
    """Configures a build for these compute capabilities."""
    trt = load(RTX)[0]

    def configure(config) -> None:
        config.num_compute_capabilities = len(names)
        for number, name in enumerate(names):
            assert config.set_compute_capability(trt.ComputeCapability[name], number)

    return configure


def validity(log, plan: bytes) -> tuple[str, int]:
    found, diagnostics = load(RTX)[0].Runtime(log).get_engine_validity(plan)
    return found.name, diagnostics


def test_it_computes_what_the_graph_says(rtx_log):
    call = Call(engine(rtx_log, build(rtx_log, model(ADD), SIZES)))
    for rows in (1, 3, 4):
        x = numbers(rows, 3)
        np.testing.assert_array_equal(call(x=x)["y"], x + x)


def test_its_classes_are_its_own_and_are_not_taken_by_the_other(rtx_log, log):
    rtx, trt = load(RTX)[0], load()[0]
    assert rtx.Builder is not trt.Builder and rtx.DataType.FLOAT != trt.DataType.FLOAT
    with pytest.raises(TypeError, match="no ILogger"):
        rtx.Builder(log)
    with pytest.raises(TypeError, match="no ILogger"):
        trt.Runtime(rtx_log)


def test_an_engine_of_one_product_does_not_load_in_the_other(rtx_log, log):
    of_trt, of_rtx = build(log, model(ADD), SIZES), build(rtx_log, model(ADD), SIZES)
    assert engine(rtx_log, of_trt) is None and engine(log, of_rtx) is None
    assert "magicTag" in log.take() and "magicTag" in rtx_log.take()
    assert validity(rtx_log, of_trt) == ("INVALID", 32)


@pytest.mark.parametrize(
    ("names", "here", "there"),
    [((), True, True), (("SM86",), False, False), (("CURRENT",), True, False)],
)
def test_an_engine_is_for_its_compute_capabilities(rtx_log, names, here, there):
    plan = build(rtx_log, model(ADD), SIZES, configure=capabilities(*names))
    for device, runs in ((0, here), (1, there)):
        with current(device):
            assert validity(rtx_log, plan) == (("VALID", 0) if runs else ("INVALID", 2))
            assert (engine(rtx_log, plan) is not None) == runs


def test_an_engine_is_for_its_version(rtx_log, monkeypatch):
    plan = build(rtx_log, model(ADD), SIZES)
    monkeypatch.setattr(importlib.import_module(f"{RTX}._runtime"), "VERSION", "1.8.0.1")
    assert validity(rtx_log, plan) == ("INVALID", 1)
    assert engine(rtx_log, plan) is None


def test_only_the_first_bytes_decide_whether_an_engine_is_valid(rtx_log):
    plan = build(rtx_log, model(ADD), SIZES)
    size = load(RTX)[0].Runtime(rtx_log).engine_header_size
    assert validity(rtx_log, plan[:size]) == ("VALID", 0)
    assert validity(rtx_log, plan[: size - 1]) == ("INVALID", 32)
    assert engine(rtx_log, plan[:-1]) is None
    assert "checksum" in rtx_log.take()


def test_the_parser_names_the_groups_of_nodes_that_it_takes(rtx_log):
    trt = load(RTX)[0]
    text = """(float[2, 2] x) => (float[2, 2] y, float v) {
        a = Relu(x)
        b = com.example.Own(a)
        c = Tanh(b)
        y = Neg(c)
        v = Det(x)
    }"""
    whole = model("(float[2] x) => (float[2] y) { y = Neg(x) }")
    half = model(text)
    half.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    for made, groups, faults in ((half, [[0], [2, 3]], 2), (whole, [[0]], 0)):
        parser = trt.OnnxParser(trt.Builder(rtx_log).create_network(), rtx_log)
        assert parser.supports_model_v2(made.SerializeToString()) == (not faults)
        numbers = range(parser.num_subgraphs)
        assert [parser.get_subgraph_nodes(number) for number in numbers] == groups
        # as NVIDIA's: none of a model that is not taken as a whole
        assert all(parser.is_subgraph_supported(number) == (not faults) for number in numbers)
        assert parser.num_errors == faults


def test_kernels_are_compiled_at_the_first_run_of_each_shape(rtx_log):
    loaded = engine(rtx_log, build(rtx_log, model(ADD), SIZES))
    config = loaded.create_runtime_config()
    cache = config.create_runtime_cache()
    assert config.set_runtime_cache(cache) and config.get_runtime_cache() is cache
    empty = len(cache.serialize())
    call = Call(loaded, config)
    assert len(cache.serialize()) == empty
    sizes = []
    for rows in (2, 2, 3, 3):
        call(x=numbers(rows, 3))
        sizes.append(len(cache.serialize()))
    assert empty < sizes[0] == sizes[1] < sizes[2] == sizes[3]
    assert cache.reset() and len(cache.serialize()) == empty


def test_without_special_kernels_there_is_one_for_all_shapes(rtx_log):
    trt = load(RTX)[0]
    loaded = engine(rtx_log, build(rtx_log, model(ADD), SIZES))
    config = loaded.create_runtime_config()
    strategy = trt.DynamicShapesKernelSpecializationStrategy.NONE
    config.dynamic_shapes_kernel_specialization_strategy = strategy
    cache = config.create_runtime_cache()
    config.set_runtime_cache(cache)
    call = Call(loaded, config)
    call(x=numbers(2, 3))
    size = len(cache.serialize())
    call(x=numbers(3, 3))
    assert len(cache.serialize()) == size


def test_a_warm_cache_compiles_nothing(rtx_log):
    compiled = importlib.import_module(f"{RTX}._context_factory").compiled
    loaded = engine(rtx_log, build(rtx_log, weighted(7)))

    def run(stored: bytes) -> tuple[int, bytes]:
        """How many kernels were compiled, and the cache afterwards."""
        config = loaded.create_runtime_config()
        cache = config.create_runtime_cache()
        assert not stored or cache.deserialize(stored)
        config.set_runtime_cache(cache)
        before = len(compiled)
        assert (Call(loaded, config)(x=ONES)["y"] == 7).all()
        return len(compiled) - before, bytes(cache.serialize())

    cold, stored = run(b"")
    assert (cold, run(stored)) == (1, (0, stored))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"?"])
def test_a_damaged_cache_is_not_taken(rtx_log, damage):
    cache = engine(rtx_log, build(rtx_log, weighted())).create_runtime_config()
    cache = cache.create_runtime_cache()
    assert not cache.deserialize(damage(bytes(cache.serialize())))
    assert "corrupt" in rtx_log.take()


def test_a_cache_of_another_gpu_is_not_taken(rtx_log):
    cache = engine(rtx_log, build(rtx_log, weighted())).create_runtime_config()
    cache = cache.create_runtime_cache()
    stored = bytes(cache.serialize())
    with current(1):
        assert not cache.deserialize(stored)
    assert "is of ['1.7.1.116', 'Simulated A', '9.0']" in rtx_log.take()


WITHOUT_GPU = f"""
import sys
import onnx
import {RTX} as trt

log = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(log)
network = builder.create_network()
model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 18]> g {SCALE}')
model.graph.initializer.append(onnx.helper.make_tensor("w", 1, [1], [2.0]))
assert trt.OnnxParser(network, log).parse(model.SerializeToString())
config = builder.create_builder_config()
plan = builder.build_serialized_network(network, config)
runtime = trt.Runtime(log)
print(len(plan) > 64, runtime.get_engine_validity(plan)[0].name)
print(runtime.deserialize_cuda_engine(plan))
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
print(builder.build_serialized_network(network, config))
"""


@pytest.mark.parametrize("missing", ["driver", "gpu"])
def test_it_builds_without_a_gpu_and_does_not_run(missing):
    environment = dict(os.environ)
    if missing == "driver":
        del environment["LD_LIBRARY_PATH"]
    else:
        environment["SIM_CUDA_DEVICES"] = ""
    command = [sys.executable, "-c", WITHOUT_GPU]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines() == ["True INVALID", "None", "None"], done.stderr
    error = {"driver": "failure with error: 35", "gpu": "no CUDA-capable device is detected"}
    assert done.stderr.count(error[missing]) == 3
