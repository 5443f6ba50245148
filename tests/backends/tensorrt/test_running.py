"""An engine on the GPU: nothing allocated twice, nothing left behind, nothing lost by a failure."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from onnx import helper

from backends.contract import ConversionError, EngineError, TensorError
from backends.device import DeviceRunner
from tests.helpers.graphs import BATCH, conv, kernel, noise, nonzero, relu, save, two_and_two

OUT_OF_MEMORY, LAUNCH_FAILED = 2, 719


@pytest.fixture
def load(driver):
    from backends.tensorrt.run import load

    return load


def rows(count, value=1.0):
    return {"x": np.full((count, 1024), value, np.float32)}


def test_it_is_a_device_runner_of_its_gpu(convert, load, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"), device=1)
    with load(artifact, root) as runner:
        assert isinstance(runner, DeviceRunner) and runner.device == "cuda:1"
        runner(noise(conv(tmp_path / "conv.onnx")))


def test_a_call_like_the_one_before_allocates_nothing(convert, load, driver, tmp_path):
    segment = two_and_two(tmp_path / "two.onnx")
    artifact, root = convert(segment)
    with load(artifact, root) as runner:
        runner(noise(segment))
        before = [driver.count(name) for name in ("cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate")]
        for seed in range(10):
            runner(noise(segment, seed))
        after = [driver.count(name) for name in ("cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate")]
    assert before == after and before[0] > 0


def test_copies_are_page_locked_and_one_for_each_tensor(convert, load, driver, tmp_path):
    segment = two_and_two(tmp_path / "two.onnx")
    artifact, root = convert(segment)
    with load(artifact, root) as runner:
        runner(noise(segment))
        before = {name: driver.count(name) for name in ("HtoD", "DtoH", "pageable")}
        runner(noise(segment))
        copies = {name: driver.count(name) - number for name, number in before.items()}
    assert copies == {"HtoD": 2, "DtoH": 2, "pageable": 0}


def test_memory_grows_with_the_largest_input_and_is_kept(convert, load, driver, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        sizes = []
        for count in (1, 8, 2, 8):
            assert (runner(rows(count))["y"] == 1).all()
            sizes.append(driver.live("bytes"))
    assert sizes[0] < sizes[1] == sizes[2] == sizes[3]


def test_everything_is_given_back_at_the_end(convert, load, driver, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    artifact, root = convert(segment)
    before = driver.all_live()
    with load(artifact, root) as runner:
        runner(noise(segment))
        assert driver.live("memory") and driver.live("context") and driver.live("stream")
    assert driver.all_live() == before


def test_a_shape_outside_the_profile_is_refused_before_the_engine_sees_it(convert, load, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        with pytest.raises(TensorError, match=r"input 'x': expected float32\[1\.\.8, 1024\]"):
            runner(rows(9))
        assert (runner(rows(8))["y"] == 1).all()


def test_a_shape_that_only_the_engine_refuses_is_an_engine_error(convert, load, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    wider = replace(BATCH, max=16)
    loose = replace(
        artifact,
        inputs=(replace(artifact.inputs[0], shape=(wider, 1024)),),
        outputs=(replace(artifact.outputs[0], shape=(wider, 1024)),),
    )
    with load(loose, root) as runner:
        with pytest.raises(EngineError, match=r"TensorRT does not accept shape \(9, 1024\)"):
            runner(rows(9))
        assert (runner(rows(8, -1))["y"] == 0).all()


def test_a_dtype_that_the_engine_does_not_take_is_refused(convert, load, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner, pytest.raises(TensorError, match="got float64"):
        runner({"x": np.zeros((1, 1024))})


def test_too_little_memory_is_said_and_a_smaller_input_works(convert, load, driver, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        runner(rows(1))
        driver.fail("cuMemAlloc", OUT_OF_MEMORY, times=2)
        with pytest.raises(
            EngineError, match=r"cannot allocate 32,768 bytes.*out of device memory"
        ):
            runner(rows(8))
        assert (runner(rows(2, 3.0))["y"] == 3).all()
        driver.fail("cuMemAlloc", OUT_OF_MEMORY, nth=2, times=2)  # of the output
        with pytest.raises(EngineError, match=r"out of device memory.*smaller inputs"):
            runner(rows(8))
        assert (runner(rows(2, 4.0))["y"] == 4).all()
        assert (runner(rows(8, 5.0))["y"] == 5).all()


def test_too_little_memory_for_the_engine_leaves_nothing(convert, load, driver, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        driver.fail("cuMemAlloc", OUT_OF_MEMORY)
        with pytest.raises(EngineError, match="TensorRT creates no execution context"):
            runner(rows(1))
        assert (runner(rows(1))["y"] == 1).all()


def test_an_engine_that_fails_in_the_middle_can_be_called_again(
    convert, load, driver, tmp_path, monkeypatch
):
    import tensorrt as trt

    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        runner(rows(1))
        with monkeypatch.context() as patch:
            patch.setattr(trt.IExecutionContext, "execute_async_v3", lambda *_: False)
            with pytest.raises(EngineError, match="TensorRT failed: "):
                runner(rows(1))
        assert (runner(rows(1, 2.0))["y"] == 2).all()
        driver.fail("host", LAUNCH_FAILED)  # the kernel, when the stream gets to it
        with pytest.raises(EngineError, match=r"the GPU failed: .*launch fail"):
            runner(rows(1))
        assert (runner(rows(1, 3.0))["y"] == 3).all()


def test_threads_have_a_lane_each_and_those_of_ended_ones_are_taken_over(
    convert, load, driver, tmp_path
):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    with load(artifact, root) as runner:
        runner(rows(1))
        barrier = threading.Barrier(4)

        def work(value):
            barrier.wait()
            return all((runner(rows(4, value))["y"] == value).all() for _ in range(25))

        for _ in range(3):
            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(work, [1.0, 2.0, 3.0, 4.0]))
            assert driver.live("stream") == 5


def test_another_thread_may_close_it(convert, load, driver, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"))
    runner = load(artifact, root)
    runner(rows(1))
    closer = threading.Thread(target=runner.__exit__)
    closer.start()
    closer.join()
    assert driver.live("context") == 0 and driver.live("memory") == 0
    with pytest.raises(EngineError, match="the TensorRT runner is closed"):
        runner(rows(1))


def test_a_recorded_graph_is_replayed_until_a_shape_changes(convert, load, driver, tmp_path):
    artifact, root = convert(relu(tmp_path / "relu.onnx"), cuda_graph=True)
    launches = []
    with load(artifact, root) as runner:
        for number, count in enumerate((2, 2, 2, 4, 4, 4)):
            assert (runner(rows(count, number))["y"] == number).all()
            launches.append(driver.count("cuGraphLaunch"))
    assert [after - before for before, after in pairwise(launches)] == [1, 1, 0, 1, 1]


def test_an_output_grows_as_its_data_ask(convert, load, tmp_path):
    artifact, root = convert(nonzero(tmp_path / "nonzero.onnx"), cuda_graph=True)
    with load(artifact, root) as runner:
        for count in (3, 64, 0, 5):
            x = np.zeros(64, np.float32)
            x[:count] = 1
            found = runner({"x": x})
            np.testing.assert_array_equal(found["where"], np.nonzero(x))
            assert (found["y"] == x).all()


def test_no_memory_for_such_an_output_is_an_error_and_it_works_again(
    convert, load, driver, tmp_path
):
    artifact, root = convert(nonzero(tmp_path / "nonzero.onnx"))
    x = {"x": np.ones(64, np.float32)}
    with load(artifact, root) as runner:
        runner({"x": np.zeros(64, np.float32)})
        driver.fail("cuMemAlloc", OUT_OF_MEMORY, times=2)
        with pytest.raises(EngineError, match="TensorRT failed"):
            runner(x)
        assert runner(x)["where"].shape == (1, 64)


def test_a_stripped_plan_is_small_and_gets_its_weights_at_the_start(convert, load, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)]
    weights = {"w": kernel(64, 64, 3, 3)}
    shapes = {"x": [1, 64, 8, 8]}, {"y": [1, 64, 8, 8]}
    segment = save(tmp_path / "big.onnx", nodes, *shapes, weights)
    artifact, root = convert(segment)
    with load(artifact, root) as runner:
        expected = runner(noise(segment))["y"]
    full = (root / "engine.plan").stat().st_size
    stripped, root = convert(segment, strip=True)
    assert stripped.files == ("engine.plan", "big.onnx")
    assert (root / "engine.plan").stat().st_size < full / 2
    with load(stripped, root) as runner:
        np.testing.assert_array_equal(runner(noise(segment))["y"], expected)


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"tensorrt": "10.3.0"}, r"another TensorRT: expected 10\.3\.0, got 11\.4\.0\.106"),
        ({"gpu": "NVIDIA L4"}, "another GPU: expected NVIDIA L4, got Simulated A"),
        ({"compute_capability": "8.9"}, r"another compute capability: expected 8\.9, got 9\.0"),
        ({"cuda": "14.1"}, r"another version of the CUDA driver: expected 14\.1, got 13\.0"),
    ],
)
def test_a_plan_of_elsewhere_is_refused_by_name(convert, load, tmp_path, tools, message):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    (root / "engine.plan").unlink()  # it is not even read
    with pytest.raises(EngineError, match=f"the plan of 'conv' was built for {message}") as caught:
        load(replace(artifact, tools={**artifact.tools, **tools}), root)
    assert caught.match("Build it on this device: python -m deploy.runtime build BUNDLE")


def test_a_plan_that_does_not_say_what_it_is_for_is_refused(convert, load, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    with pytest.raises(EngineError, match="the plan does not say its tensorrt"):
        load(replace(artifact, tools={}), root)


@pytest.mark.parametrize(
    ("options", "tools", "fits"),
    [
        ({"version_compatible": True}, {"tensorrt": "11.0.0.1"}, True),
        ({"version_compatible": True}, {"tensorrt": "11.9.0.1"}, False),
        ({"version_compatible": True}, {"tensorrt": "10.3.0"}, False),
        ({"hardware": "same_capability"}, {"gpu": "Another"}, True),
        ({"hardware": "same_capability"}, {"compute_capability": "8.9"}, False),
        ({"hardware": "ampere_plus"}, {"gpu": "Another", "compute_capability": "8.6"}, True),
    ],
)
def test_a_compatible_plan_fits_where_it_says(
    convert, load, driver, tmp_path, options, tools, fits
):
    from backends.nvidia.gpu import Gpu
    from backends.tensorrt import Options
    from backends.tensorrt.plan import check_fits

    artifact, _ = convert(conv(tmp_path / "conv.onnx"), **options)
    elsewhere = replace(artifact, tools={**artifact.tools, **tools})
    gpu = Gpu(0)
    try:
        if fits:
            check_fits(elsewhere, Options(**options), gpu)
        else:
            with pytest.raises(EngineError, match="was built for another"):
                check_fits(elsewhere, Options(**options), gpu)
    finally:
        gpu.close()


def test_a_compatible_plan_loads(convert, load, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    artifact, root = convert(segment, version_compatible=True, hardware="ampere_plus")
    with load(artifact, root) as runner:
        assert runner(noise(segment))["net.out.0"].shape == (1, 5, 8, 12)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_plan_is_an_error_and_leaves_nothing(convert, load, tmp_path, keep):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    plan = root / "engine.plan"
    plan.write_bytes(plan.read_bytes()[:keep])
    with pytest.raises(EngineError, match=r"'engine\.plan' does not load: .*Build it again"):
        load(artifact, root)


def test_a_missing_plan_is_an_error(convert, load, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    (root / "engine.plan").unlink()
    with pytest.raises(EngineError, match=r"'engine\.plan' cannot be read"):
        load(artifact, root)


def test_a_gpu_that_is_not_there_is_an_error(convert, load, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    elsewhere = replace(artifact, options={**artifact.options, "device": 5})
    with pytest.raises(EngineError, match="device 5: expected a GPU from 0 to 1, got none"):
        load(elsewhere, root)


def test_a_tensorrt_that_does_not_start_is_an_error(convert, load, tmp_path, monkeypatch):
    from backends.tensorrt import convert as desk
    from backends.tensorrt import run

    def nothing(*_):
        raise TypeError("factory function returned nullptr")

    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    monkeypatch.setattr(run, "BINDINGS", replace(run.BINDINGS, runtime=nothing))
    with pytest.raises(EngineError, match="TensorRT does not start: no reason given"):
        load(artifact, root)
    monkeypatch.setattr(desk, "BINDINGS", replace(desk.BINDINGS, builder=nothing))
    with pytest.raises(ConversionError, match="TensorRT does not start: no reason given"):
        convert(conv(tmp_path / "conv.onnx"))


def test_a_tensorrt_older_than_10_is_refused(convert, load, tmp_path, monkeypatch):
    import tensorrt as trt

    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    monkeypatch.setattr(trt, "__version__", "8.6.1")
    with pytest.raises(EngineError, match=r"TensorRT: expected version 10 or later, got 8\.6\.1"):
        load(artifact, root)
    with pytest.raises(ConversionError, match=r"segment 'conv': TensorRT: expected version 10"):
        convert(conv(tmp_path / "conv.onnx"))
