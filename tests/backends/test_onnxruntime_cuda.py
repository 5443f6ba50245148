"""ONNX Runtime on a GPU: tensors by their addresses, and never the CPU unless that is allowed."""

import numpy as np
import pytest

from backends.contract import EngineError, OptionError, TensorError
from backends.device import DeviceRunner
from backends.onnxruntime import Options
from backends.onnxruntime.convert import convert
from backends.onnxruntime.run import load
from backends.options import parse_options
from tests.helpers.graphs import two_and_two
from tests.simulator.ort_cuda import CUDA, pretend


@pytest.fixture
def convert_with_options(tmp_path):
    """Makes an artifact with options."""

    def make(**options):
        return convert(two_and_two(tmp_path / "model.onnx"), Options(**options), tmp_path)

    return make


def inputs():
    noise = np.random.default_rng(0)
    return {name: noise.standard_normal((1, 3, 4, 6)).astype(np.float32) for name in "ab"}


def test_a_build_without_cuda_is_refused_by_name(convert_with_options, tmp_path):
    with pytest.raises(
        EngineError, match=r"has no GPU here: this build of it is for the CPU.*onnx"
    ):
        load(convert_with_options(device="cuda"), tmp_path)


def test_a_provider_that_does_not_start_is_refused(convert_with_options, tmp_path, monkeypatch):
    pretend(monkeypatch)
    monkeypatch.setattr(
        "tests.simulator.ort_cuda.Session.get_providers", lambda self: ["CPUExecutionProvider"]
    )
    with pytest.raises(EngineError, match=r"CUDA provider does not start.*cpu_fallback=true"):
        load(convert_with_options(device="cuda"), tmp_path)


def test_the_cpu_takes_its_place_where_that_is_allowed_and_says_so(convert_with_options, tmp_path):
    made = convert_with_options(device="cuda", cpu_fallback=True)
    with pytest.warns(UserWarning, match=r"'model\.onnx' runs on the CPU: this build"):
        runner = load(made, tmp_path)
    assert not isinstance(runner, DeviceRunner)
    with runner:
        assert set(runner(inputs())) == {"wide", "difference"}


def test_nodes_must_not_fall_back_unless_that_is_allowed(
    convert_with_options, tmp_path, monkeypatch
):
    sessions = pretend(monkeypatch)
    load(convert_with_options(device="cuda"), tmp_path)
    assert sessions[0].no_fallback == "1"


def test_the_provider_gets_its_options_and_no_tf32(convert_with_options, tmp_path, monkeypatch):
    sessions = pretend(monkeypatch)
    load(
        convert_with_options(device="cuda", gpu=1, gpu_memory_mib=64, conv_search="heuristic"),
        tmp_path,
    )
    name, told = sessions[0].providers[0]
    assert name == CUDA
    assert told == {
        "device_id": "1",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": str(64 << 20),
    }


def test_a_call_gives_what_the_cpu_gives(convert_with_options, tmp_path, monkeypatch):
    with load(convert_with_options(), tmp_path) as on_cpu:
        expected = on_cpu(inputs())
    pretend(monkeypatch)
    with load(convert_with_options(device="cuda", gpu=1), tmp_path) as runner:
        assert isinstance(runner, DeviceRunner) and runner.device == "cuda:1"
        found = runner(inputs())
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


def test_tensors_stay_on_the_device_between_its_parts(convert_with_options, tmp_path, monkeypatch):
    pretend(monkeypatch)
    with load(convert_with_options(device="cuda"), tmp_path) as runner:
        there = runner.upload(inputs(), None)
        made = runner.run(there, None)
        assert all(tensor.pointer and tensor.device == "cuda:0" for tensor in made.values())
        assert made["wide"].shape == (1, 4, 4, 6) and made["wide"].dtype == "float32"


def test_it_waits_for_the_stream_that_its_inputs_come_from(
    convert_with_options, tmp_path, monkeypatch
):
    class Stream:
        handle, waits = 1, 0

        def synchronize(self):
            self.waits += 1

    pretend(monkeypatch)
    stream = Stream()
    with load(convert_with_options(device="cuda"), tmp_path) as runner:
        runner.run(runner.upload(inputs(), stream), stream)
    assert stream.waits == 1


def test_a_wrong_input_and_a_closed_runner_are_errors(convert_with_options, tmp_path, monkeypatch):
    pretend(monkeypatch)
    runner = load(convert_with_options(device="cuda"), tmp_path)
    with runner, pytest.raises(TensorError, match="input 'a': expected float32"):
        runner({**inputs(), "a": np.zeros((1, 3, 4, 6))})
    with pytest.raises(EngineError, match="the ONNX Runtime runner is closed"):
        runner(inputs())


def test_an_option_out_of_its_range_is_refused():
    with pytest.raises(OptionError, match="gpu: expected 0 or more, got -1"):
        parse_options(Options, {"gpu": -1}, "onnxruntime")
