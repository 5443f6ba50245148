"""ncnn on a GPU: tests run on any with Vulkan, such as Mesa's software device (llvmpipe)."""

import ctypes
import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from backends.acceptance import TOLERANCES
from backends.contract import Artifact, Dynamic, EngineError, Segment
from backends.conversion_files import read_artifact, write_artifact
from backends.error_metrics import compare_all
from backends.ncnn import Options, machine, misfit
from backends.ncnn.gpu_query import HALF_PRECISION, vulkan_gpus
from tests.helpers.commands import run_process
from tests.helpers.graphs import conv, kernel, noise, relu, save, two_and_two
from tests.helpers.two_segment_net import DEPLOY, write_net

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.ncnn import gpu_query
from backends.ncnn.convert import convert
from backends.ncnn.run import NcnnRunner, load
from backends.ncnn.vulkan import check_gpu_options

ON_GPU = Options(device="vulkan")
WITHOUT_DRIVER = {"VK_DRIVER_FILES": "/nowhere", "VK_ICD_FILENAMES": "/nowhere"}
PAGE = os.sysconf("SC_PAGE_SIZE")


def converted(segment: Segment, folder: Path, options: Options = ON_GPU) -> Artifact:
    folder.mkdir()
    artifact = convert(segment, options, folder)
    write_artifact(folder, artifact)
    return artifact


def on_cpu(artifact: Artifact) -> Artifact:
    return replace(artifact, options={**artifact.options, "device": "cpu"})


def results(artifact: Artifact, root: Path, inputs):
    with load(artifact, root) as runner:
        return runner(inputs)


def without_driver(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, **WITHOUT_DRIVER}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def convolution(tmp_path) -> Segment:
    return conv(tmp_path / "conv.onnx")


@pytest.fixture
def gpu_artifact(convolution, tmp_path) -> Artifact:
    return converted(convolution, tmp_path / "out")


@pytest.mark.parametrize("fp16", [False, True])
def test_the_gpu_computes_in_half_precision_where_that_is_asked_for_alone(
    convolution, tmp_path, fp16
):
    artifact = converted(convolution, tmp_path / "out", Options(device="vulkan", fp16=fp16))
    inputs = noise(convolution)
    with load(artifact, tmp_path / "out") as runner:
        opt = runner._net.opt
        assert opt.use_vulkan_compute
        assert all(getattr(opt, f"use_{name}") is fp16 for name in HALF_PRECISION)
        assert not (opt.use_bf16_packed or opt.use_bf16_storage or opt.use_int8_inference)
        assert not (opt.use_int8_packed or opt.use_int8_storage or opt.use_int8_arithmetic)
        got = runner(inputs)
    single = converted(convolution, tmp_path / "single")
    (gap,) = compare_all(results(on_cpu(single), tmp_path / "single", inputs), got)
    assert TOLERANCES["fp16" if fp16 else "fp32"].admits(gap)
    assert (gap.max_rel > 1e-5) is fp16  # otherwise it was not what was asked for


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(gpu_artifact, tmp_path):
    other = replace(gpu_artifact, options={**gpu_artifact.options, "gpu": 7})
    with pytest.raises(EngineError, match=r"device=vulkan: expected GPU 7, got 0: .+ Run it on a"):
        load(other, tmp_path / "out")


LOAD = """
import sys
from pathlib import Path
from backends.contract import EngineError
from backends.conversion_files import read_artifact
from backends.ncnn.run import load
root = Path(sys.argv[1])
try:
    load(read_artifact(root), root)
except EngineError as error:
    print(error)
"""


def test_without_a_gpu_it_is_refused_and_does_not_run_on_the_cpu(gpu_artifact, tmp_path):
    done = without_driver(LOAD, tmp_path / "out")
    assert done.stdout == (
        "ncnn with device=vulkan: expected GPU 0, got no GPU with Vulkan. Run it on a machine that "
        "has one, or convert with device=cpu.\n"
    ), done


def test_an_ncnn_without_vulkan_is_refused_like_a_machine_without_a_gpu(gpu_artifact, tmp_path):
    """Builds of distributions may leave it out."""
    code = "from backends.ncnn.library import ncnn; del ncnn.get_gpu_count" + LOAD
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ncnn with device=vulkan: expected GPU 0, got no GPU"), done


def test_a_gpu_that_lacks_what_half_precision_needs_is_refused_by_name():
    opt = SimpleNamespace(use_vulkan_compute=True, use_fp16_packed=True)
    opt.use_fp16_storage = opt.use_fp16_arithmetic = False  # as ncnn leaves them
    net = SimpleNamespace(opt=opt)
    with pytest.raises(
        EngineError, match=r"got no fp16_storage, fp16_arithmetic\. Convert in fp32"
    ):
        check_gpu_options(net, 0, half_precision=True)
    check_gpu_options(net, 0, half_precision=False)
    opt.use_vulkan_compute = False  # as it does where the device cannot be created
    with pytest.raises(EngineError, match=r"ncnn cannot use GPU 0 \(.+\)\. Run it on"):
        check_gpu_options(net, 0, half_precision=False)


def test_a_desk_without_a_gpu_compares_on_its_cpu_and_leaves_the_rest_to_the_device(tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    command = [sys.executable, "-m", "backends.ncnn", segment.onnx, tmp_path / "out"]
    done = subprocess.run(
        [*command, "device=vulkan"],
        env={**os.environ, **WITHOUT_DRIVER},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "with device=cpu, since this machine cannot run it: no GPU with Vulkan" in done.stdout
    artifact = read_artifact(tmp_path / "out")
    assert artifact.unverified and artifact.options["device"] == "vulkan"
    assert results(artifact, tmp_path / "out", noise(segment))  # on this device


def test_the_gpus_here_are_listed_and_asked_for_in_another_process():
    code = "import sys; from backends.ncnn import devices; print(devices(), 'ncnn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['Vulkan GPU 0: ") and done.stdout.endswith("] False\n")
    assert done.stderr == ""
    none = without_driver(code).stdout
    assert none.startswith("['no Vulkan GPU: ") and none.endswith("] False\n")


def test_a_driver_that_crashes_is_no_gpu(monkeypatch, tmp_path):
    (tmp_path / "crash.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(gpu_query, "_CHILD", "crash")
    found = vulkan_gpus.__wrapped__()
    assert found.obstacle(0, False) == (
        "no GPU with Vulkan here: ncnn's search for them ended with signal SIGABRT"
    )


def test_a_conversion_depends_on_the_gpu_that_it_is_compared_on():
    assert machine(Options()) == {} and misfit(Options(gpu=7)) == ""
    assert set(machine(ON_GPU)) == {"gpu", "driver"} and misfit(ON_GPU) == ""
    assert machine(Options(device="vulkan", gpu=7)) == {}
    assert misfit(Options(device="vulkan", gpu=7)).startswith("Vulkan has no GPU 7 here, but 0: ")


def test_a_negative_number_is_no_gpu():
    with pytest.raises(ValueError, match="gpu: expected 0 or more, got -1"):
        Options(gpu=-1)


def test_layers_without_a_shader_run_on_the_cpu_between_the_others_and_are_told(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("MatMul", ["a", "other"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["out"], kernel_shape=[1, 1]),
    ]
    shapes = {"image": [1, 3, 4, 6], "other": [1, 3, 6, 8]}, {"out": [1, 3, 4, 8]}
    segment = save(tmp_path / "product.onnx", nodes, *shapes, {"w": kernel(3, 3, 1, 1)})
    artifact = converted(segment, tmp_path / "out")
    inputs = noise(segment)
    with load(artifact, tmp_path / "out") as runner:
        assert runner.note == "4 of 5 layers on the GPU; on the CPU: 1 MatMul"
        got = runner(inputs)
    with load(on_cpu(artifact), tmp_path / "out") as runner:
        assert runner.note == ""
        (gap,) = compare_all(runner(inputs), got)
    assert gap.max_rel < 1e-5


def test_one_output_is_computed_from_the_inputs_that_it_needs(tmp_path):
    segment = two_and_two(tmp_path / "two.onnx")
    artifact = converted(segment, tmp_path / "out")
    inputs = noise(segment)
    with load(artifact, tmp_path / "out") as runner:
        whole, one = runner(inputs), runner.compute(inputs, ["difference"])
    assert list(one) == ["difference"]
    np.testing.assert_array_equal(one["difference"], whole["difference"])


def test_rows_that_vary_in_number_go_to_the_gpu_one_by_one(tmp_path):
    segment = relu(tmp_path / "relu.onnx", Dynamic("batch", 0, 2, 8))
    artifact = converted(segment, tmp_path / "out")
    with load(artifact, tmp_path / "out") as runner:
        for count in (0, 1, 5):
            name, shape = segment.inputs[0].name, segment.inputs[0].typical[1:]
            x = np.random.default_rng(count).standard_normal((count, *shape)).astype("f4")
            (got,) = runner({name: x}).values()
            np.testing.assert_array_equal(got, np.maximum(x, 0))


def test_several_threads_call_several_runners(gpu_artifact, convolution, tmp_path):
    inputs = noise(convolution)
    with load(gpu_artifact, tmp_path / "out") as one, load(gpu_artifact, tmp_path / "out") as other:
        wanted = one(inputs)["net.out.0"]
        found: list[np.ndarray] = []

        def call(runner: NcnnRunner) -> None:
            found.extend(runner(inputs)["net.out.0"] for _ in range(20))

        threads = [Thread(target=call, args=(runner,)) for runner in (one, one, other, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 80
    assert all(np.array_equal(wanted, array) for array in found)


def resident_mib() -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / (1 << 20)


@pytest.fixture
def wide(tmp_path) -> Segment:
    """A convolution with an output of 8 MiB; a software device's memory is that of the process."""
    nodes = [helper.make_node("Conv", ["image", "w"], ["out"], kernel_shape=[1, 1])]
    shapes = {"image": [1, 3, 256, 256]}, {"out": [1, 32, 256, 256]}
    return save(tmp_path / "wide.onnx", nodes, *shapes, {"w": kernel(32, 3, 1, 1)})


def test_closed_nets_hold_no_memory_of_the_gpu(wide, tmp_path):
    artifact = converted(wide, tmp_path / "out")
    closed, held = [], []
    for _ in range(8):
        with load(artifact, tmp_path / "out") as runner:
            runner(noise(wide))
        closed.append(runner)
        held.append(resident_mib())
    assert held[-1] < held[2] + 5, held


END = """
import sys
from pathlib import Path
import numpy as np
from backends.conversion_files import read_artifact
from backends.ncnn.run import load
root = Path(sys.argv[1])
runners = [load(read_artifact(root), root) for _ in range(2)]
image = np.ones((1, 3, 8, 12), np.float32)
print(*(runner({"net.image": image})["net.out.0"].shape for runner in runners))
if sys.argv[2] == "closed":
    for runner in runners:
        runner.__exit__()
"""


@pytest.mark.parametrize("state", ["closed", "open"])
def test_the_process_ends_without_a_crash_also_with_open_nets(gpu_artifact, tmp_path, state):
    done = subprocess.run(
        [sys.executable, "-c", END, str(tmp_path / "out"), state],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "(1, 5, 8, 12) (1, 5, 8, 12)\n"), done


@pytest.mark.slow
def test_a_bundle_of_a_desk_without_a_gpu_is_verified_where_there_is_one(tmp_path):
    write_net(tmp_path)
    words = ["+backend=ncnn_vulkan", "+backend@chain.head=[ncnn,ncnn_vulkan]", "bundle=bundle"]
    made = run_process(*DEPLOY, *words, cwd=tmp_path, **WITHOUT_DRIVER)
    assert "not measured yet: the device verifies body" in made.stdout, made.stderr
    early = run_process("deploy.runtime", "build", "bundle", cwd=tmp_path, **WITHOUT_DRIVER)
    assert "ncnn with device=vulkan: expected GPU 0, got no GPU with Vulkan" in early.stderr
    built = run_process("deploy.runtime", "build", "bundle", cwd=tmp_path)
    assert "    body: 2 of 2 layers on the GPU\n" in built.stdout, built.stderr
    assert "head on ncnn-vulkan-fp32" in built.stdout
    isolated = ["check", "bundle", "--isolate", "always"]
    checked = run_process("deploy.runtime", *isolated, cwd=tmp_path)
    assert "    body: 2 of 2 layers on the GPU\n" in checked.stdout, checked.stderr
    assert run_process("deploy.runtime", *isolated, cwd=tmp_path, **WITHOUT_DRIVER).returncode == 1


@pytest.mark.slow
def test_the_report_of_what_works_here_lists_the_gpus(tmp_path):
    assert "\n    Vulkan GPU 0: " in run_process("deploy", "doctor", cwd=tmp_path).stdout
