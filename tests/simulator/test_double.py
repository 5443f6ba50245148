"""The double of TensorRT at work, under pycuda and the simulated driver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tests.simulator.engines import (
    ADD,
    IMAGES,
    RESIZED,
    SIZES,
    Call,
    adder,
    build,
    current,
    engine,
    load,
    model,
    numbers,
)

pytestmark = pytest.mark.usefixtures("on_gpu")

ROOT = Path(__file__).parents[2]
OUT_OF_MEMORY = 2


def test_it_computes_what_onnx_runtime_does(log):
    made = model(RESIZED, w=numbers(4, 3, 3, 3))
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    call = Call(engine(log, build(log, made, IMAGES)))
    for shape in ((1, 3, 4, 5), (2, 3, 9, 2), (1, 3, 4, 5)):
        image = numbers(*shape)
        (wanted,) = session.run(None, {"x": image})
        np.testing.assert_allclose(call(x=image)["y"], wanted, rtol=1e-6)


def test_it_tells_what_it_was_built_for(log):
    trt, _ = load()
    loaded = engine(log, build(log, model(RESIZED, w=numbers(4, 3, 3, 3)), IMAGES))
    assert [loaded.get_tensor_name(number) for number in range(loaded.num_io_tensors)] == ["x", "y"]
    assert loaded.get_tensor_mode("x") == trt.TensorIOMode.INPUT
    assert loaded.get_tensor_mode("none") == trt.TensorIOMode.NONE
    assert loaded.get_tensor_dtype("y") == trt.DataType.FLOAT
    assert loaded.get_tensor_shape("x") == (-1, 3, -1, -1)
    assert [tuple(shape) for shape in loaded.get_tensor_profile_shape("x", 0)] == IMAGES["x"]
    assert loaded.get_tensor_location("x") == trt.TensorLocation.DEVICE
    assert loaded.num_optimization_profiles == 1
    assert not loaded.refittable
    assert not loaded.is_shape_inference_io("x")
    text = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    assert "Resize" in text


def test_shapes_are_known_once_the_inputs_are(log):
    call = Call(engine(log, build(log, model(RESIZED, w=numbers(4, 3, 3, 3)), IMAGES)))
    assert not call.context.all_binding_shapes_specified
    assert call.context.infer_shapes() == ["x"]
    assert call.context.get_tensor_shape("y") == (-1, 4, -1, -1)
    assert call.context.set_input_shape("x", (2, 3, 4, 5))
    assert call.context.infer_shapes() == []
    assert call.context.get_tensor_shape("x") == (2, 3, 4, 5)
    assert call.context.get_tensor_shape("y") == (2, 4, 8, 10)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("x", (5, 3), "Valid range for profile 0: [1]..[4]"),
        ("x", (0, 3), "does not satisfy"),
        ("x", (2, 4), "Static dimension mismatch"),
        ("x", (2,), "has 2 dimensions"),
        ("y", (2, 3), "y is no name"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(log, name, shape, said):
    add = adder(log)
    assert not add.context.set_input_shape(name, shape)
    assert said in log.take()


def test_sizes_of_one_name_are_the_same(log):
    text = "(float[N] a, float[N] b) => (float[N] y) { y = Add(a, b) }"
    call = Call(
        engine(
            log, build(log, model(text), {"a": [(1,)] * 2 + [(9,)]} | {"b": [(1,)] * 2 + [(9,)]})
        )
    )
    assert call.context.set_input_shape("a", (2,))
    assert call.context.set_input_shape("b", (3,))
    with pytest.raises(RuntimeError, match="dimension N is 2 and 3"):
        call.context.infer_shapes()
    assert not call.enqueue()
    assert "dimension N" in log.take()


def test_everything_has_to_be_set(log):
    add = adder(log)
    assert not add.enqueue()
    assert "no shape was set for x" in log.take()
    add.context.set_input_shape("x", (2, 3))
    assert not add.enqueue()
    assert "no address was set for x" in log.take()
    add.place("x", (2, 3))
    assert not add.enqueue()
    assert "no address was set for y" in log.take()
    assert not add.context.set_tensor_address("y", int(add.memory["x"]) + 4)
    assert "aligned" in log.take()
    assert not add.context.set_tensor_address("w", int(add.memory["x"]))
    assert "w is no name" in log.take()


def test_an_engine_and_its_contexts_take_memory_and_give_it_back(log, simulated_driver):
    plan = build(log, model(RESIZED, w=numbers(4, 3, 3, 3)), IMAGES)
    loaded = engine(log, plan)
    assert simulated_driver.live("memory") == 1
    assert simulated_driver.live("bytes") >= 4 * 3 * 3 * 3 * 4
    contexts = [loaded.create_execution_context() for _ in range(2)]
    assert simulated_driver.live("bytes") >= 2 * loaded.device_memory_size_v2
    assert simulated_driver.live("memory") == 3
    del loaded
    contexts.pop()
    assert simulated_driver.live("memory") == 2  # a context keeps its engine
    contexts.pop()
    assert simulated_driver.live("memory") == 0


def test_too_little_memory_is_told(log, simulated_driver):
    plan = build(log, model(ADD), SIZES)
    simulated_driver.fail("cuMemAlloc", OUT_OF_MEMORY)
    assert engine(log, plan) is None
    assert "OutOfMemory (out of memory)" in log.take()
    loaded = engine(log, plan)
    simulated_driver.fail("cuMemAlloc", OUT_OF_MEMORY)
    assert loaded.create_execution_context() is None
    assert "OutOfMemory (out of memory)" in log.take()
    assert loaded.create_execution_context() is not None


def test_memory_is_freed_by_a_thread_without_a_context_too(log, simulated_driver):
    loaded = [engine(log, build(log, model(ADD), SIZES))]
    thread = threading.Thread(target=loaded.clear)
    thread.start()
    thread.join()
    assert simulated_driver.live("memory") == 0


def test_another_device_is_refused(log):
    add = adder(log)
    add.bind(x=numbers(2, 3))
    with current(1):
        assert not add.enqueue()
        assert "current device is not the engine's" in log.take()
        assert add.engine.create_execution_context() is None
        assert "current device is not the engine's" in log.take()


@pytest.mark.parametrize("kind", ["float16", "int32", "int64", "bool"])
def test_other_types_work(log, kind):
    text = f"({kind}[N, 3] x) => ({kind}[N, 3] y) {{ y = Transpose <perm = [0, 1]> (x) }}"
    values = (np.arange(6).reshape(2, 3) % 2).astype(kind)
    call = Call(engine(log, build(log, model(text), SIZES)))
    np.testing.assert_array_equal(call(x=values)["y"], values)


def test_bfloat16_is_rounded_to_after_every_node(log):
    import ml_dtypes

    text = """(float[N, 8] x) => (float[N, 5] y) {
        h = Cast <to = 16> (x)
        a = MatMul(h, w)
        b = Add(a, a)
        y = Cast <to = 1> (b)
    }"""
    half, weights = ml_dtypes.bfloat16, numbers(8, 5).astype(ml_dtypes.bfloat16)
    call = Call(engine(log, build(log, model(text, w=weights), {"x": [(1, 8), (2, 8), (4, 8)]})))
    inputs = numbers(3, 8)
    product = inputs.astype(half).astype(np.float32) @ weights.astype(np.float32)
    wanted = product.astype(half).astype(np.float32) * 2
    np.testing.assert_allclose(call(x=inputs)["y"], wanted, rtol=2**-7)
    assert (call(x=inputs)["y"].view(np.uint32) & 0xFFFF == 0).all()


@pytest.mark.parametrize("what", ["build", "deserialize", "context", "execute"])
def test_what_was_asked_to_fail_does(what):
    code = f"""
import numpy as np
from tests.simulator.engines import *
with device():
    log = listener()
    plans = [build(log, model({ADD!r}), {SIZES!r}) for _ in range(3)]
    print("build", [plan is not None for plan in plans])
    plan = next(plan for plan in plans if plan)
    engines = [engine(log, plan) for _ in range(3)]
    print("deserialize", [one is not None for one in engines])
    one = next(one for one in engines if one)
    contexts = [one.create_execution_context() for _ in range(3)]
    print("context", [context is not None for context in contexts])
    del contexts
    call = Call(one)
    call.bind(x=np.ones((2, 3), np.float32))
    print("execute", [call.enqueue() for _ in range(3)])
    call.stream.synchronize()
    print("said", log.take().count("failed on request"))
    del call, one, engines
"""
    asked = {**os.environ, "SIM_TENSORRT_FAIL": f"{what}:2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=asked, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines.pop("said") == "1"
    assert lines == {
        step: str([True, step != what, True])
        for step in ("build", "deserialize", "context", "execute")
    }


def test_a_device_loads_no_onnx(log, tmp_path):
    path = tmp_path / "add.plan"
    path.write_bytes(build(log, model(ADD), SIZES))
    code = f"""
import sys
import pycuda.driver as drv
drv.init()
context = drv.Device(0).retain_primary_context()
context.push()
import tensorrt as trt
log = trt.Logger()
trt.init_libnvinfer_plugins(log, "")
engine = trt.Runtime(log).deserialize_cuda_engine(open({str(path)!r}, "rb").read())
execution = engine.create_execution_context()
memory = drv.mem_alloc(24)
assert execution.set_input_shape("x", (2, 3))
assert execution.set_tensor_address("x", int(memory))
assert execution.set_tensor_address("y", int(memory))
assert execution.execute_async_v3(0)
context.synchronize()
print("onnx" in sys.modules, trt.__version__)
del execution, engine, memory
drv.Context.pop()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "11.4.0.106"], done.stderr


def test_it_is_an_installed_distribution():
    assert version("tensorrt") == "11.4.0.106"
