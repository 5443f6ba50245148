"""From the command line to a verified bundle, on the simulated GPU, as a user types it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from deploy.analysis.gpu_check import gpu_check
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import QUICK, files, output_of, run_process
from tests.helpers.datasets import first_pictures

pytestmark = pytest.mark.slow

# an option of its own: no other test has put this engine into the cache
JOB = ["deploy", "+model=yolov3", "+backend=tensorrt", "backend.options.workspace_mib=777", QUICK]
NO_GPU = {"SIM_CUDA_DEVICES": ""}
ANOTHER_GPU = {"SIM_CUDA_DEVICES": "Another GPU:8.7:2000000000"}
OLDER = {"SIM_TENSORRT_VERSION": "10.16.1.11"}


@pytest.fixture(scope="module")
def job_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def built(job_folder) -> Path:
    """Made on a desk with a GPU; every process reports what it leaves on it."""
    report = {"SIM_CUDA_REPORT": str(job_folder / "left.json")}
    words = ["verify.eval=true", f"model.eval={first_pictures(job_folder, 8)}", "bundle=built"]
    ended = run_process(*JOB, *words, cwd=job_folder, **report)
    assert ended.returncode == 0, ended.stderr
    assert "boxes mAP@.5:.95: chain" in ended.stdout
    return job_folder / "built"


@pytest.fixture(scope="module")
def carried(job_folder) -> Path:
    """Made on a desk without a GPU, and finished on one."""
    ended = run_process(*JOB, "backend.build=device", "bundle=carried", cwd=job_folder, **NO_GPU)
    assert ended.returncode == 0, ended.stderr
    text = output_of("deploy.runtime", "build", "carried", cwd=job_folder)
    assert "20 of 20 detections matched, counted from both sides" in text
    return job_folder / "carried"


def test_the_bundle_agrees_and_sees_what_pytorch_sees(built):
    manifest = read_manifest(built)
    assert manifest.verification.status == "passed"
    notes = manifest.verification.notes
    assert notes["map"] == pytest.approx(notes["torch_map"], abs=1e-3) and notes["map"] > 0.5
    assert manifest.steps[0].tools["gpu"] == "Simulated A"


def test_no_process_leaves_anything_on_the_gpu(built, job_folder):
    lines = [json.loads(line) for line in (job_folder / "left.json").read_text().splitlines()]
    assert len(lines) >= 3  # the desk, the converter, the benchmark
    kinds = ("memory", "bytes", "host", "stream", "event", "graph", "context")
    assert [line for line in lines if any(line["live"][kind] for kind in kinds)] == []
    assert not any(line["count"].get("pageable") for line in lines)


def test_a_desk_without_a_gpu_says_so_at_once_and_offers_to_leave_it_to_the_device(tmp_path):
    start = time.monotonic()
    message = process_error(tmp_path, **NO_GPU)
    seconds = time.monotonic() - start
    assert "tensorrt cannot convert here: the NVIDIA driver finds no GPU here" in message
    assert "Pass backend.build=device" in message and "deploy.runtime build BUNDLE" in message
    assert seconds < 5, "it must not load PyTorch before"


def process_error(cwd: Path, **environment: str) -> str:
    """The error of the job in a new process, which loads its libraries by this environment."""
    ended = run_process(*JOB, cwd=cwd, **environment)
    assert ended.returncode not in (0, None), ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    assert files(cwd) == [], "something half-written was left"
    return ended.stderr


def test_without_a_driver_that_is_what_is_missing(tmp_path):
    paths = os.environ["LD_LIBRARY_PATH"].split(os.pathsep)
    without = os.pathsep.join(path for path in paths if "simulator" not in path)
    message = process_error(tmp_path, LD_LIBRARY_PATH=without)
    assert "tensorrt cannot convert here: no NVIDIA driver here (libcuda.so.1)" in message


def test_without_tensorrt_that_is_what_is_missing(tmp_path):
    message = process_error(tmp_path, PYTHONPATH="")
    assert "tensorrt cannot convert here: tensorrt not installed here" in message


def test_a_device_finishes_it_and_runs_it(carried, job_folder):
    assert read_manifest(carried).verification.status == "passed"
    text = output_of("deploy.runtime", "check", "carried", cwd=job_folder)
    assert "BAD" not in text
    assert "yolov3" in output_of(
        "deploy.runtime", "bench", "carried", "--runs", "2", cwd=job_folder
    )
    assert (carried / "detections.png").is_file()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (ANOTHER_GPU, "another compute capability: expected 9.0, got 8.7"),
        (OLDER, "another TensorRT: expected 11.4.0.106, got 10.16.1.11"),
    ],
)
def test_elsewhere_it_is_refused_by_name_and_can_be_finished_again(
    carried, job_folder, where, message
):
    for bundle in ("built", "carried"):
        ended = run_process("deploy.runtime", "check", bundle, cwd=job_folder, **where)
        assert ended.returncode == 1 and message in ended.stderr
        assert "Build it on this device: python -m deploy.runtime build" in ended.stderr
    again = run_process("deploy.runtime", "build", "carried", cwd=job_folder, **where)
    assert again.returncode == 0, again.stderr
    assert (
        run_process("deploy.runtime", "check", "carried", cwd=job_folder, **where).returncode == 0
    )


def test_a_device_without_a_gpu_cannot_finish_it(carried, job_folder):
    before = (carried / "manifest.json").read_bytes()
    ended = run_process("deploy.runtime", "build", "carried", cwd=job_folder, **NO_GPU)
    assert ended.returncode == 1
    assert "'tensorrt' cannot build step 'yolov3' here: the NVIDIA driver" in ended.stderr
    assert (carried / "manifest.json").read_bytes() == before


def test_a_truncated_plan_is_refused_before_tensorrt_reads_it(built, job_folder):
    plan = built / "yolov3" / "engine.plan"
    data = plan.read_bytes()
    plan.write_bytes(data[:1000])
    try:
        ended = run_process("deploy.runtime", "check", "built", cwd=job_folder)
    finally:
        plan.write_bytes(data)
    assert ended.returncode == 1
    assert "file 'yolov3/engine.plan': expected" in ended.stderr


def test_a_failure_in_the_converter_is_its_error_with_the_command_to_repeat(tmp_path):
    new = "backend.options.workspace_mib=778"
    ended = run_process(*JOB, new, "bundle=bundle", cwd=tmp_path, SIM_TENSORRT_FAIL="build:1")
    assert ended.returncode == 1 and not (tmp_path / "bundle").exists()
    assert "cannot convert segment 'yolov3' to tensorrt: TensorRT builds no plan: " in ended.stderr
    assert "To repeat it: " in ended.stderr


def test_the_doctor_tries_the_gpu_and_notes_what_came_of_it(job_folder, capsys):
    assert gpu_check(
        job_folder / "report",
        3,
        only=["pycuda", "CUDA graphs", "onnxruntime, batch", "tensorrt, batch", "tensorrt, record"],
    )
    data = json.loads((job_folder / "report" / "gpu.json").read_text())
    statuses = {check["name"]: check["status"] for check in data["checks"]}
    assert statuses["tensorrt, batch of 1 to 4"] == statuses["pycuda: threads"] == "passed"
    assert statuses["onnxruntime, batch of 1 to 4"] == "not run"
    assert data["gpus"] == ["Simulated A", "Simulated B"] and data["cuda"] == "13.0"
    table = (job_folder / "report" / "gpu.md").read_text()
    assert "# On a GPU: Simulated A, Simulated B" in table
    assert "by events, ms: yolov3" in table
    assert "onnxruntime-gpu is not installed here" in table


def test_a_check_that_fails_is_noted_and_makes_the_whole_fail(tmp_path, monkeypatch):
    monkeypatch.setenv("SIM_TENSORRT_FAIL", "build:1")
    assert not gpu_check(tmp_path, 3, only=["pycuda: threads", "tensorrt, recorded graph"])
    (_, failed) = json.loads((tmp_path / "gpu.json").read_text())["checks"]
    assert failed["status"] == "failed" and "TensorRT builds no plan" in failed["result"]


def test_a_chain_with_the_host_in_the_middle_runs_on_the_gpu(tmp_path):
    words = ["deploy", "+model=mask_rcnn", "+partition=regions_in_engine", "+backend=tensorrt"]
    output_of(*words, QUICK, "bundle=b", cwd=tmp_path)
    notes = read_manifest(tmp_path / "b").verification.notes
    assert notes["detections_matched"] == notes["detections"] > 80
    assert notes["mask_iou"] > 0.99
