"""A chain on the simulated GPU: addresses go from engine to engine, copies are made at its ends."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from backends import registry
from backends.contract import EngineError
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.device_timing import event_times
from tests.helpers.graphs import kernel, save
from tests.simulator.ort_cuda import pretend


def link(folder, source: str, target: str):
    """A segment that mixes the channels of its only input."""
    nodes = [helper.make_node("Conv", [source, "w"], [target], kernel_shape=[1, 1])]
    shape = [1, 4, 8, 8]
    weights = {"w": kernel(4, 4, 1, 1)}
    return save(folder / f"{source}{target}.onnx", nodes, {source: shape}, {target: shape}, weights)


IMAGE = {"a": np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)}


@pytest.fixture
def open_chain(driver, tmp_path):
    """Opens a chain of one segment for each backend, such as ``tensorrt device=1``."""
    with ExitStack() as stack:

        def make(*backends: str) -> Chain:
            steps = []
            for words, (source, target) in zip(backends, ("ab", "bc", "cd"), strict=False):
                name, *pairs = words.split()
                given = dict(pair.split("=") for pair in pairs)
                kind = registry.options_type(name)
                from backends.options import parse_options

                out = tmp_path / f"{source}{target}.out"
                out.mkdir()
                options = parse_options(kind, given, name)
                segment = link(tmp_path, source, target)
                artifact = registry.converter(name)(segment, options, out)
                steps.append((artifact, registry.loader(name)(artifact, out)))
            first, last = steps[0][0].inputs, steps[-1][0].outputs
            return stack.enter_context(Chain(steps, first, last))

        yield make


def expected(links: int) -> np.ndarray:
    weights = kernel(4, 4, 1, 1)[:, :, 0, 0]
    found = IMAGE["a"]
    for _ in range(links):
        found = np.einsum("oc,nchw->nohw", weights, found)
    return found


def copies(driver, call) -> dict[str, int]:
    names = ("HtoD", "DtoH", "DtoD", "cuStreamSynchronize")
    before = {name: driver.count(name) for name in names}
    call()
    return {name: driver.count(name) - number for name, number in before.items()}


def test_tensorrt_to_tensorrt_copies_and_waits_at_the_ends_only(open_chain, driver):
    made = open_chain("tensorrt", "tensorrt", "tensorrt")
    np.testing.assert_allclose(made(IMAGE)["d"], expected(3), rtol=1e-4)
    found = copies(driver, lambda: made(IMAGE))
    assert found == {"HtoD": 1, "DtoH": 1, "DtoD": 0, "cuStreamSynchronize": 1}


def test_recorded_graphs_hand_over_too(open_chain, driver):
    made = open_chain("tensorrt cuda_graph=true", "tensorrt cuda_graph=true")
    for _ in range(3):
        np.testing.assert_allclose(made(IMAGE)["c"], expected(2), rtol=1e-4)
    before = driver.count("cuGraphLaunch")
    made(IMAGE)
    assert driver.count("cuGraphLaunch") == before + 2


def test_tensorrt_hands_over_to_onnxruntime_on_the_gpu_and_back(open_chain, driver, monkeypatch):
    pretend(monkeypatch)
    made = open_chain("tensorrt", "onnxruntime device=cuda", "tensorrt")
    np.testing.assert_allclose(made(IMAGE)["d"], expected(3), rtol=1e-4)
    found = copies(driver, lambda: made(IMAGE))
    # one wait before ONNX Runtime, whose stream is its own, and one at the end
    assert found == {"HtoD": 1, "DtoH": 1, "DtoD": 0, "cuStreamSynchronize": 2}


def test_a_step_on_the_cpu_costs_one_copy_each_way(open_chain, driver):
    made = open_chain("tensorrt", "onnxruntime", "tensorrt")
    np.testing.assert_allclose(made(IMAGE)["d"], expected(3), rtol=1e-4)
    found = copies(driver, lambda: made(IMAGE))
    assert found == {"HtoD": 2, "DtoH": 2, "DtoD": 0, "cuStreamSynchronize": 2}


def test_two_gpus_meet_on_the_host(open_chain, driver):
    made = open_chain("tensorrt", "tensorrt device=1")
    np.testing.assert_allclose(made(IMAGE)["c"], expected(2), rtol=1e-4)
    assert copies(driver, lambda: made(IMAGE))["HtoD"] == 2


def test_a_step_that_fails_is_named_and_the_chain_stays_usable(open_chain, driver, monkeypatch):
    import tensorrt as trt

    made = open_chain("tensorrt", "tensorrt")
    made(IMAGE)
    run, calls = trt.IExecutionContext.execute_async_v3, []

    def second_fails(context, stream_handle):
        calls.append(context)
        return len(calls) != 2 and run(context, stream_handle)

    with monkeypatch.context() as patch:
        patch.setattr(trt.IExecutionContext, "execute_async_v3", second_fails)
        with pytest.raises(EngineError, match="step 'bc': TensorRT failed"):
            made(IMAGE)
    np.testing.assert_allclose(made(IMAGE)["c"], expected(2), rtol=1e-4)


def test_events_time_each_engine_by_the_gpus_clock(open_chain):
    times = event_times(open_chain("tensorrt", "onnxruntime", "tensorrt"), IMAGE, 4)
    assert {name: len(row) for name, row in times.items()} == {"ab": 4, "cd": 4}
    assert all(0 < seconds < 1 for row in times.values() for seconds in row)


def test_an_engine_that_does_not_load_closes_those_before_it(driver, tmp_path):
    from deploy.runtime.bundle.manifest import FileEntry, Manifest, Verification
    from deploy.runtime.pipeline import Pipeline

    root, steps = tmp_path / "bundle", []
    for source, target in ("ab", "bc"):
        out = root / f"{source}{target}"
        out.mkdir(parents=True)
        options = registry.options_type("tensorrt")()
        segment = link(tmp_path, source, target)
        artifact = registry.converter("tensorrt")(segment, options, out)
        steps.append(replace(artifact, files=(f"{source}{target}/engine.plan",)))
    steps[1] = replace(steps[1], tools={**steps[1].tools, "gpu": "Another"})
    from deploy.runtime.bundle.integrity import file_entry as entry_of

    files: dict[str, FileEntry] = {
        name: entry_of(root / name, "engine") for step in steps for name in step.files
    }
    manifest = Manifest(
        "m", (), steps[0].inputs, steps[1].outputs, tuple(steps), None, None, None, files, {},
        Verification("passed"),
    )  # fmt: skip
    with pytest.raises(EngineError, match="another GPU"):
        Pipeline.of(root, manifest)
    assert driver.live("memory") == 0
