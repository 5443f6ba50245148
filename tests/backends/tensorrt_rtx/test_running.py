"""An engine of TensorRT for RTX on the simulated GPU: right values, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from backends.acceptance import TOLERANCES
from backends.contract import EngineError, Segment, TensorError
from backends.conversion_files import write_artifact
from backends.device import DeviceRunner
from backends.error_metrics import compare_all
from backends.onnx.specs import read_segment
from deploy.runtime.execution.chain import Chain
from tests.helpers.graphs import batched, conv, noise, nonzero, relu, save, two_and_two

OUT_OF_MEMORY = 2
HALF = """(float16[2, 8] x) => (float16[2, 8] y) {
    doubled = Add(x, x)
    y = Tanh(doubled)
}"""
INTEGERS = """(int64[2, 3] ids, bool[2, 3] mask) => (int64[2, 3] kept, bool[2, 3] small) {
    zero = Sub(ids, ids)
    kept = Where(mask, ids, zero)
    limit = Constant <value_int = 2> ()
    below = Less(kept, limit)
    small = And(below, mask)
}"""


def written(text: str, path: Path) -> Segment:
    """A graph in ONNX's own notation, as a segment."""
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]>\n{path.stem} {text}'
    )
    onnx.save(model, path)
    return read_segment(path, path.stem, {})


def reference(segment: Segment, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [spec.name for spec in segment.outputs]
    return dict(zip(names, ReferenceEvaluator(str(segment.onnx)).run(names, inputs), strict=True))


def agrees(segment: Segment, inputs: dict[str, np.ndarray], outputs, precision="fp32") -> bool:
    gaps = compare_all(reference(segment, inputs), outputs)
    return bool(gaps) and all(TOLERANCES[precision].admits(gap) for gap in gaps)


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}, {"runtime_cache": "off"}])
def test_a_static_graph_computes_what_onnx_says(convert_rtx, load_rtx, tmp_path, options):
    segment = two_and_two(tmp_path / "two.onnx")
    artifact, root = convert_rtx(segment, **options)
    with load_rtx(artifact, root) as runner:
        assert isinstance(runner, DeviceRunner) and runner.device == "cuda:0"
        for seed in range(3):
            inputs = noise(segment, seed)
            assert agrees(segment, inputs, runner(inputs))


@pytest.mark.parametrize("kernels", ["lazy", "eager", "none"])
def test_a_dynamic_batch_computes_what_onnx_says(convert_rtx, load_rtx, tmp_path, kernels):
    segment = batched(tmp_path / "batched.onnx")
    artifact, root = convert_rtx(segment, dynamic_kernels=kernels)
    with load_rtx(artifact, root) as runner:
        for batch in (1, 8, 3, 8):
            image = np.random.default_rng(batch).standard_normal((batch, 3, 4, 4))
            inputs = {"image": image.astype(np.float32)}
            assert agrees(segment, inputs, runner(inputs))
        with pytest.raises(TensorError, match=r"expected float32\[1\.\.8, 3, 4, 4\]"):
            runner({"image": np.zeros((9, 3, 4, 4), np.float32)})


def test_a_graph_in_fp16_computes_what_onnx_says(convert_rtx, load_rtx, tmp_path):
    segment = written(HALF, tmp_path / "half.onnx")
    artifact, root = convert_rtx(segment)
    inputs = noise(segment)
    with load_rtx(artifact, root) as runner:
        found = runner(inputs)
    assert found["y"].dtype == np.float16
    assert agrees(segment, inputs, found, "fp16")


def test_int64_and_bool_go_in_and_out(convert_rtx, load_rtx, tmp_path):
    segment = written(INTEGERS, tmp_path / "integers.onnx")
    artifact, root = convert_rtx(segment)
    inputs = {
        "ids": np.array([[1 << 40, 1, -5], [0, 2, 3]]),
        "mask": np.array([[True, True, False], [True, True, True]]),
    }
    with load_rtx(artifact, root) as runner:
        found = runner(inputs)
    for name, expected in reference(segment, inputs).items():
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_an_output_has_the_size_that_its_data_decide(convert_rtx, load_rtx, tmp_path, cuda_graph):
    artifact, root = convert_rtx(nonzero(tmp_path / "nonzero.onnx"), cuda_graph=cuda_graph)
    with load_rtx(artifact, root) as runner:
        for count in (3, 64, 0, 5):
            x = np.zeros(64, np.float32)
            x[:count] = 1
            found = runner({"x": x})
            np.testing.assert_array_equal(found["where"], np.nonzero(x))
            np.testing.assert_array_equal(found["y"], x)


def test_the_options_are_the_runtimes(convert_rtx, load_rtx, tmp_path, monkeypatch):
    import tensorrt_rtx_bindings as trt

    configs = []
    create = trt.ICudaEngine.create_execution_context

    def spy(engine, config):
        configs.append(config)
        return create(engine, config)

    monkeypatch.setattr(trt.ICudaEngine, "create_execution_context", spy)
    segment = conv(tmp_path / "conv.onnx")
    for options in ({}, {"cuda_graph": True, "dynamic_kernels": "eager", "runtime_cache": "off"}):
        artifact, root = convert_rtx(segment, **options)
        with load_rtx(artifact, root) as runner:
            runner(noise(segment))
    found = [
        (
            config.cuda_graph_strategy.name,
            config.dynamic_shapes_kernel_specialization_strategy.name,
            config.get_runtime_cache() is not None,
        )
        for config in configs
    ]
    assert found == [("DISABLED", "LAZY", True), ("WHOLE_GRAPH_CAPTURE", "EAGER", False)]


def test_a_strategy_that_the_library_does_not_take_is_an_error(
    convert_rtx, load_rtx, tmp_path, monkeypatch
):
    import tensorrt_rtx_bindings as trt

    disabled = property(lambda config: trt.CudaGraphStrategy.DISABLED, lambda config, value: None)
    monkeypatch.setattr(trt.IRuntimeConfig, "cuda_graph_strategy", disabled)
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"), cuda_graph=True)
    with pytest.raises(
        EngineError,
        match=r"TensorRT for RTX does not record this engine: .*Leave the option cuda_graph out",
    ):
        load_rtx(artifact, root)


def test_threads_have_a_context_each(convert_rtx, load_rtx, driver, tmp_path):
    artifact, root = convert_rtx(relu(tmp_path / "relu.onnx"))
    with load_rtx(artifact, root) as runner:
        barrier = threading.Barrier(4)

        def work(value: float) -> bool:
            barrier.wait()
            x = {"x": np.full((4, 1024), value, np.float32)}
            return all((runner(x)["y"] == value).all() for _ in range(25))

        for _ in range(2):
            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(work, [1.0, 2.0, 3.0, 4.0]))
            assert driver.live("stream") == 4


def test_a_call_like_the_one_before_allocates_nothing(convert_rtx, load_rtx, driver, tmp_path):
    segment = two_and_two(tmp_path / "two.onnx")
    artifact, root = convert_rtx(segment, cuda_graph=True)
    names = ("cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate")
    with load_rtx(artifact, root) as runner:
        runner(noise(segment))
        before = [driver.count(name) for name in names]
        for seed in range(5):
            runner(noise(segment, seed))
        assert [driver.count(name) for name in names] == before


def test_everything_is_given_back_at_the_end_also_by_another_thread(
    convert_rtx, load_rtx, driver, tmp_path
):
    segment = conv(tmp_path / "conv.onnx")
    artifact, root = convert_rtx(segment)
    runner = load_rtx(artifact, root)
    runner(noise(segment))
    assert driver.live("memory") and driver.live("context")
    closer = threading.Thread(target=runner.__exit__)
    closer.start()
    closer.join()
    assert driver.live("memory") == driver.live("context") == 0
    with pytest.raises(EngineError, match="the TensorRT for RTX runner is closed"):
        runner(noise(segment))


def test_too_little_memory_for_a_context_is_said_and_it_works_again(
    convert_rtx, load_rtx, driver, tmp_path
):
    segment = conv(tmp_path / "conv.onnx")
    artifact, root = convert_rtx(segment)
    with load_rtx(artifact, root) as runner:
        driver.fail("cuMemAlloc", OUT_OF_MEMORY)
        with pytest.raises(EngineError, match="TensorRT for RTX creates no execution context"):
            runner(noise(segment))
        assert agrees(segment, noise(segment), runner(noise(segment)))


def test_a_stripped_engine_is_small_and_gets_its_weights_at_the_start(
    convert_rtx, load_rtx, tmp_path
):
    segment = wide(tmp_path / "wide.onnx")
    _, root = convert_rtx(segment)
    full = (root / "engine.rtx").stat().st_size
    for refit in (False, True):
        artifact, root = convert_rtx(segment, strip=True, refit=refit)
        assert artifact.files == ("engine.rtx", "wide.onnx")
        assert (root / "engine.rtx").stat().st_size < full / 2
        with load_rtx(artifact, root) as runner:
            assert agrees(segment, noise(segment), runner(noise(segment)))


def wide(path: Path, scale: float = 1.0) -> Segment:
    """A convolution with many weights."""
    from tests.helpers.graphs import kernel

    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1] * 4)]
    shapes = {"x": [1, 64, 8, 8]}, {"y": [1, 64, 8, 8]}
    return save(path, nodes, *shapes, {"w": scale * kernel(64, 64, 3, 3)})


def test_other_weights_are_taken_only_where_the_engine_was_built_for_them(
    convert_rtx, load_rtx, tmp_path
):
    segment = wide(tmp_path / "wide.onnx")
    other = wide(tmp_path / "other.onnx", 3.0)
    for refit in (True, False):
        artifact, root = convert_rtx(segment, strip=True, refit=refit)
        (root / "wide.onnx").write_bytes(other.onnx.read_bytes())
        if not refit:
            with pytest.raises(EngineError, match=r"does not accept the weights of 'wide\.onnx'"):
                load_rtx(artifact, root)
            continue
        with load_rtx(artifact, root) as runner:
            assert agrees(other, noise(other), runner(noise(other)))


def test_a_chain_with_tensorrt_copies_and_waits_at_its_ends_only(
    convert_rtx, load_rtx, driver, tmp_path
):
    from backends.tensorrt import Options
    from backends.tensorrt.convert import convert
    from backends.tensorrt.run import load

    first = written("(float[2, 8] a) => (float[2, 8] b) { b = Tanh(a) }", tmp_path / "ab.onnx")
    middle = written("(float[2, 8] b) => (float[2, 8] c) { c = Neg(b) }", tmp_path / "bc.onnx")
    last = written("(float[2, 8] c) => (float[2, 8] d) { d = Exp(c) }", tmp_path / "cd.onnx")
    out = tmp_path / "of_tensorrt"
    out.mkdir()
    of_trt = convert(middle, Options(), out)
    steps = [
        (artifact, load_rtx(artifact, root)) for artifact, root in map(convert_rtx, (first, last))
    ]
    steps.insert(1, (of_trt, load(of_trt, out)))
    with Chain(steps, first.inputs, last.outputs) as chain:
        x = noise(first)
        expected = np.exp(-np.tanh(x["a"]))
        np.testing.assert_allclose(chain(x)["d"], expected, rtol=1e-5)
        names = ("HtoD", "DtoH", "DtoD", "cuStreamSynchronize")
        before = [driver.count(name) for name in names]
        np.testing.assert_allclose(chain(x)["d"], expected, rtol=1e-5)
        assert [driver.count(name) - one for name, one in zip(names, before, strict=True)] == [
            *(1, 1, 0, 1)
        ]


def test_an_engine_for_another_gpu_is_refused_with_what_it_is_for(convert_rtx, load_rtx, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"), targets="[sm86, sm120]")
    with pytest.raises(EngineError) as caught:
        load_rtx(artifact, root)
    assert str(caught.value) == (
        "the engine of 'conv' cannot be loaded here: unsupported compute capability: "
        "expected TensorRT for RTX 1.7.1.116 and compute capability 8.6, 12.0, "
        "got TensorRT for RTX 1.7.1.116 and compute capability 9.0. Build it again for this "
        "machine: deploy again with other backend.options.targets, or with backend.build=device "
        "and then python -m deploy.runtime build BUNDLE here."
    )


def test_an_engine_of_another_version_is_refused(convert_rtx, load_rtx, tmp_path, monkeypatch):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    engine = root / "engine.rtx"
    engine.write_bytes(engine.read_bytes().replace(b"1.7.1.116", b"1.6.9.100", 1))
    older = replace(artifact, tools={**artifact.tools, "tensorrt_rtx": "1.6.9.100"})
    with pytest.raises(
        EngineError,
        match=r"the engine of 'conv' cannot be loaded here: it is of another version: expected "
        r"TensorRT for RTX 1\.6\.9\.100 .*, got TensorRT for RTX 1\.7\.1\.116",
    ):
        load_rtx(older, root)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "cannot be loaded here: it is damaged or of another version"),
        (lambda data: data[:63], "cannot be loaded here: it is damaged or of another version"),
        (lambda data: b"SIMPLAN1" + data, "cannot be loaded here: it is damaged"),
        (lambda data: data[:64], r"'engine\.rtx' does not load: .*Build it again"),
        (lambda data: data[:-1], r"'engine\.rtx' does not load: .*Build it again"),
        (
            lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
            r"'engine\.rtx' does not load: .*Build it again",
        ),
    ],
)
def test_a_truncated_or_changed_engine_is_one_error_and_leaves_nothing(
    convert_rtx, load_rtx, tmp_path, damage, message
):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    engine = root / "engine.rtx"
    engine.write_bytes(damage(engine.read_bytes()))
    with pytest.raises(EngineError, match=message):
        load_rtx(artifact, root)


def test_a_missing_engine_is_an_error(convert_rtx, load_rtx, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    (root / "engine.rtx").unlink()
    with pytest.raises(EngineError, match=r"'engine\.rtx' cannot be read: No such file"):
        load_rtx(artifact, root)


def test_an_engine_that_runs_below_its_best_is_a_warning(
    convert_rtx, load_rtx, tmp_path, monkeypatch
):
    import tensorrt_rtx_bindings as trt

    segment = conv(tmp_path / "conv.onnx")
    artifact, root = convert_rtx(segment)
    flags = trt.EngineInvalidityDiagnostics
    found = trt.EngineValidity.SUBOPTIMAL, int(flags.OLD_CUDA_DRIVER) | int(flags.CUDA_ERROR)
    monkeypatch.setattr(trt.Runtime, "get_engine_validity", lambda *_: found)
    message = (
        "engine of 'conv' runs below its best on Simulated A: the CUDA driver is too old, CUDA"
    )
    with pytest.warns(UserWarning, match=message), load_rtx(artifact, root) as runner:
        assert agrees(segment, noise(segment), runner(noise(segment)))


def test_an_engine_that_nvidia_refuses_without_a_reason_shows_its_log(
    convert_rtx, load_rtx, driver, tmp_path
):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    driver.fail("cuCtxGetDevice", 999)
    with pytest.raises(
        EngineError, match="cannot be loaded here: Error reading CUDA GPU properties: unknown error"
    ):
        load_rtx(artifact, root)


def test_a_library_that_does_not_start_is_an_error(convert_rtx, load_rtx, tmp_path, monkeypatch):
    from backends.tensorrt_rtx import run

    def nothing(*_):
        raise TypeError("factory function returned nullptr")

    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    monkeypatch.setattr(run, "BINDINGS", replace(run.BINDINGS, runtime=nothing))
    with pytest.raises(EngineError, match="TensorRT for RTX does not start: no reason given"):
        load_rtx(artifact, root)


def test_a_gpu_that_is_not_there_is_an_error(convert_rtx, load_rtx, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    elsewhere = replace(artifact, options={**artifact.options, "device": 5})
    with pytest.raises(EngineError, match="device 5: expected a GPU from 0 to 1, got none"):
        load_rtx(elsewhere, root)


ON_ANOTHER_GPU = """
import sys
from pathlib import Path
from backends.contract import EngineError
from backends.conversion_files import read_artifact
from backends.tensorrt_rtx.run import load
from tests.helpers.graphs import conv, noise

root = Path(sys.argv[1])
try:
    with load(read_artifact(root), root) as runner:
        segment = conv(root / "again.onnx")
        print("shape", runner(noise(segment))["net.out.0"].shape)
except EngineError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("targets", "gpu", "loads"),
    [
        ("portable", "8.6", True),
        ("portable", "7.5", False),
        ("sm120", "8.6", False),
        ("[sm86, sm120]", "8.6", True),
    ],
)
def test_an_engine_runs_on_the_gpus_that_it_was_built_for(
    convert_rtx, tmp_path, targets, gpu, loads
):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"), targets=targets)
    write_artifact(root, artifact)
    done = subprocess.run(
        [sys.executable, "-c", ON_ANOTHER_GPU, str(root)],
        env={**os.environ, "SIM_CUDA_DEVICES": f"Simulated RTX:{gpu}:1073741824"},
        capture_output=True,
        text=True,
        check=False,
    )
    if loads:
        assert done.stdout.strip() == "shape (1, 5, 8, 12)", done.stderr
    else:
        refused = "the engine of 'conv' cannot be loaded here: unsupported compute capability"
        assert refused in done.stdout and "got TensorRT for RTX 1.7.1.116 and compute " in (
            done.stdout
        )
