"""The command line, from the recipe to the bundle on the device, as a user types it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, QUICK, error_of, run_here
from tests.helpers.datasets import first_pictures


@pytest.fixture(scope="module", params=BACKENDS)
def deployed(request, tmp_path_factory) -> tuple[Path, str]:
    """A bundle of the demo model, and what the run printed."""
    cwd = tmp_path_factory.mktemp(request.param)
    done = run_here("deploy", "+model=yolov3", f"+backend={request.param}", QUICK, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "bundles" / f"yolov3-{request.param}", done.stdout


def test_the_main_job_makes_a_verified_bundle_and_says_so(deployed):
    bundle, printed = deployed
    manifest = read_manifest(bundle)
    assert manifest.verification.status == "passed"
    assert manifest.verification.notes["detections_matched"] > 20
    assert [spec.name for spec in manifest.outputs] == [f"pred_maps.{i}" for i in range(3)]
    for word in (
        "export",
        "partition",
        "convert yolov3",
        "verify",
        "total",
        "max_rel",
        str(bundle.name),
    ):
        assert word in printed
    assert (bundle / "detections.png").stat().st_size > 10_000


def test_the_stages_leave_files_that_a_person_can_open(deployed):
    work = deployed[0].with_name(f"{deployed[0].name}.work")
    assert (work / "export" / "exported.onnx").is_file()
    assert (work / "segments" / "yolov3.onnx").is_file()
    assert (work / "artifacts" / "yolov3" / "artifact.json").is_file()


def test_the_bundle_checks_on_the_device(deployed):
    done = run_here("deploy.runtime", "check", deployed[0], cwd=deployed[0].parent)
    assert done.returncode == 0, done.stderr
    assert "BAD" not in done.stdout and "detections matched" in done.stdout


def test_the_bundle_finds_digits_on_the_device(deployed, tmp_path):
    bundle, _ = deployed
    image = bundle / "sample" / "image.png"
    report, drawings = tmp_path / "found.json", tmp_path / "drawn"
    done = run_here(
        "deploy.runtime", "run", bundle, image, "--json", report, "--out", drawings, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(report.read_text())
    sure = [row for row in result["detections"] if row["score"] > 0.5]
    assert len(sure) >= 5 and {row["class"] for row in sure} <= set("0123456789")
    assert (drawings / "image.png").is_file()


def test_a_bad_picture_among_good_ones_is_an_error_and_the_others_are_done(deployed, tmp_path):
    bundle, _ = deployed
    (tmp_path / "bad.png").write_bytes(b"no picture")
    image = bundle / "sample" / "image.png"
    done = run_here("deploy.runtime", "run", bundle, "bad.png", image, "--json", "-", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: 'bad.png' is not a picture" in done.stderr
    bad, good = json.loads(done.stdout)
    assert "error" in bad and good["detections"]


def test_the_latency_of_every_part_is_measured_on_the_device(deployed, tmp_path):
    done = run_here(
        "deploy.runtime", "bench", deployed[0], "--runs", 3, "--json", "-", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures) == ["decode", "pre", "yolov3", "chain", "post", "total"]
    assert all(part["p50"] <= part["p90"] <= part["p99"] for part in figures.values())


def test_a_changed_weight_is_refused_on_the_device(deployed, tmp_path):
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(deployed[0], bundle)
    weights = max(bundle.glob("yolov3/*"), key=lambda path: path.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    error = error_of("deploy.runtime", "check", bundle, cwd=tmp_path)
    assert f"file 'yolov3/{weights.name}' was changed" in error


def test_the_border_moves_behind_the_decoder_by_one_line(deployed, tmp_path):
    backend = deployed[0].name.removeprefix("yolov3-")
    moved = "partition.segments.0.end=[yolo_head:output]"
    done = run_here(
        "deploy", "+model=yolov3", f"+backend={backend}", moved, "bench.runs=0", "bundle=b",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "b")
    assert [spec.name for spec in manifest.outputs] == ["boxes", "scores", "objectness"]
    assert manifest.post is not None and manifest.post.id == "yolov3.boxes"
    assert manifest.verification.status == "passed"


@pytest.mark.slow
def test_a_sweep_ends_with_a_table_and_a_failed_job_is_a_row_in_it(tmp_path):
    done = run_here(
        "deploy", "-m", "+model=yolov3", f"+backend={','.join(BACKENDS)}",
        "convert.timeout=0.01,900", "verify.eval=true", f"cache={tmp_path / 'cache'}",
        f"model.eval={first_pictures(tmp_path, 8)}", QUICK, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    rows = json.loads((sweep / "results.json").read_text())
    assert len(rows) == 2 * len(BACKENDS)
    failed = [row for row in rows if row["status"] != "passed"]
    assert len(failed) == len(BACKENDS)
    assert all("no end within 0.01 s (convert.timeout)" in row["error"] for row in failed)
    for row in rows:
        if row["status"] == "passed":
            assert row["p50_ms"] > 0 and row["size"] > 1e6 and row["gap"] < 1e-3
            assert abs(row["map"] - row["torch_map"]) < 1e-3
            assert row["map_50"] > 0.95 and row["map"] > 0.70
    with (sweep / "results.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == [row["status"] for row in rows]
    assert "p50 ms" in done.stdout and "convert.timeout=0.01" in done.stdout
    assert f"report: {sweep / 'report.html'}" in done.stdout
    page = (sweep / "report.html").read_text()
    assert f"{len(BACKENDS)} of {len(rows)} jobs failed" in page
    assert page.count("no end within 0.01 s (convert.timeout)") == len(BACKENDS)
    own = re.findall(r'href="(\d+/bundle\.work/report\.html)"', page)
    assert len(own) == len(BACKENDS) and all((sweep / one).is_file() for one in own)


def test_without_a_model_it_says_what_there_is(tmp_path):
    done = run_here("deploy", cwd=tmp_path)
    assert done.returncode == 2
    for word in ("yolov3_coco", *BACKENDS, "digits_phone"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


MODEL, BACKEND = "+model=yolov3", f"+backend={BACKENDS[0]}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+model=yolov4", BACKEND], "got yolov4. Did you mean yolov3?"),
        ([MODEL, "+backend=tflite"], "backend: expected one of ncnn, ncnn_vulkan, onnxruntime, "),
        ([MODEL], "error: no backend is chosen. Pass +backend=NAME, one of"),
        ([MODEL, BACKEND, "+backend.options.colour=1"], "error: option 'colour' of"),
        ([MODEL, BACKEND, "backend.options.threads=many"], "expected int, got 'many'"),
        ([MODEL, BACKEND, "+model.colour=1"], "error: model.colour: Key 'colour' not in"),
        ([MODEL, BACKEND, "model.weights=none.pth"], "error: weights 'none.pth': expected a file"),
        ([MODEL, BACKEND, "model.params.num_classes=11"], "of another shape"),
        ([MODEL, BACKEND, "model.params.backbone=vgg"], "expected darknet53 or mobilenetv2"),
        ([MODEL, BACKEND, "bundle=/proc/none/b"], "expected a folder that can be written"),
        ([MODEL, BACKEND, "bundle=taken"], "expected a new folder, or an earlier bundle"),
        ([MODEL, BACKEND, "bundle=own"], "own.work' is needed for the files of this run"),
        ([MODEL, BACKEND, "model.eval=null", "verify.eval=true"], "expected a model with an eval"),
        (["+model=yolov3_coco", BACKEND], "Pass model.weights=FILE."),
        (["+model=module", BACKEND], "Pass model.target=package.module:callable"),
    ],
)  # fmt: skip
def test_bad_input_is_one_error_and_leaves_nothing(tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    (tmp_path / "own.work").mkdir()
    (tmp_path / "own.work" / "mine.txt").touch()
    cache = str(tmp_path.parent / f"{tmp_path.name}.cache")
    assert message in error_of("deploy", *arguments, cwd=tmp_path, XDG_CACHE_HOME=cache)


def test_a_mistyped_mark_names_the_nearest(tmp_path):
    wrong = "partition.segments.0.end=[yolo_haed:input]"
    done = run_here("deploy", MODEL, BACKEND, wrong, cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "unknown mark 'yolo_haed'" in done.stderr and "Did you mean yolo_head:input" in done.stderr
    )
    assert not (tmp_path / "bundles" / f"yolov3-{BACKENDS[0]}").exists()


def test_own_code_is_deployed_by_its_name(tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(width):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 1))\n"
    )
    done = run_here(
        "deploy", "+model=module", "model.target=nets:net", "model.params={width: 4}",
        "model.inputs={x: {shape: [1, 3, 16, 16]}}", BACKEND, QUICK, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        read_manifest(tmp_path / "bundles" / f"module-{BACKENDS[0]}").verification.status
        == "passed"
    )


@pytest.mark.slow
def test_a_dynamic_batch_reaches_the_bundle(tmp_path):
    if "onnxruntime" not in BACKENDS:
        pytest.skip("needs a backend with dynamic shapes")
    done = run_here(
        "deploy", MODEL, "+backend=onnxruntime", "model.dynamic={batch: [1, 2, 4]}", "bundle=b",
        QUICK, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (step,) = read_manifest(tmp_path / "b").steps
    assert str(step.inputs[0]) == "float32[1..4, 3, 320, 320]"
