"""An app without this project finds with handover.json alone what the pipeline finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.handover.facts import FORMAT
from deploy.runtime import Pipeline
from deploy.runtime.bundle.sample import IMAGE
from tests.handover.conftest import RUN
from tests.helpers.commands import output_of

APP = Path(__file__).parent / "app"


def run_python(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def result_of_app(bundle: Path) -> dict[str, np.ndarray]:
    """What the app finds in the sample's picture; the sample's tensors agree before."""
    out = bundle.parent / "result.npz"
    ended = run_python(APP, bundle, out)
    assert ended.returncode == 0, ended.stderr
    for name, (error, bound) in json.loads(ended.stdout).items():
        assert error <= bound, name
    with np.load(out) as stored:
        return {name: stored[name] for name in stored.files}


def assert_same_detections(found, expected):
    assert len(expected) > 5
    assert found["labels"].tolist() == expected.labels.tolist()
    assert np.abs(found["boxes"] - expected.boxes).max() < 0.01  # pixels
    assert np.abs(found["scores"] - expected.scores).max() < 1e-4


def test_an_app_detects_what_the_pipeline_detects(detector_for_an_app):
    found = result_of_app(detector_for_an_app)
    with Pipeline.open(detector_for_an_app) as pipeline:
        expected = pipeline(detector_for_an_app / IMAGE)
    assert_same_detections(found, expected)


def test_an_app_classifies_as_the_pipeline_does(classifier_for_an_app):
    found = result_of_app(classifier_for_an_app)
    with Pipeline.open(classifier_for_an_app) as pipeline:
        expected = pipeline(classifier_for_an_app / IMAGE)
    assert found["labels"].tolist() == expected.labels.tolist()
    assert np.abs(found["scores"] - expected.scores).max() < 1e-4


@pytest.mark.slow
def test_an_app_with_host_steps_finds_the_masks_that_the_pipeline_finds(tmp_path):
    output_of(*RUN, "+model=mask_rcnn", "+backend=ncnn", cwd=tmp_path)
    bundle = tmp_path / "bundle"
    found = result_of_app(bundle)
    with Pipeline.open(bundle) as pipeline:
        expected = pipeline(bundle / IMAGE)
    assert_same_detections(found, expected)
    differing = (found["masks"] != expected.masks.dense()).mean(axis=(1, 2))
    assert differing.max() < 1e-4  # of the pixels of the picture


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["picture", "parameters", "std"], [200.0, 200.0, 200.0]),
        (["picture", "channels"], ["blue", "green", "red"]),
        (["post", "constants", "strides"], [32, 16, 9]),
        (["post", "parameters", "score_thr"], 0.9),
        (["steps", 0, "engines", 0, "engine", "outputs", 0, "name"], "out1"),
    ],
)
def test_another_number_gives_another_result(detector_for_an_app, tmp_path, keys, value):
    bundle = tmp_path / "bundle"
    shutil.copytree(detector_for_an_app, bundle)
    facts = json.loads((bundle / "handover.json").read_text())
    *path, last = keys
    place = facts
    for key in path:
        place = place[key]
    place[last] = value
    (bundle / "handover.json").write_text(json.dumps(facts))
    with Pipeline.open(detector_for_an_app) as pipeline:
        expected = pipeline(detector_for_an_app / IMAGE)
    with pytest.raises(AssertionError):
        assert_same_detections(result_of_app(bundle), expected)


@pytest.mark.parametrize("module", ["deploy.runtime", "backends.ncnn.run", "torch"])
def test_the_app_has_no_code_of_this_project(module):
    code = f"import sys; sys.path.insert(0, {str(APP)!r}); import wall; wall.build()"
    assert run_python("-c", code).returncode == 0
    ended = run_python("-c", f"{code}; import {module}")
    assert f"an app has no module {module.partition('.')[0]}" in ended.stderr


def test_the_app_cannot_read_the_manifest(detector_for_an_app):
    code = f"import sys; sys.path.insert(0, {str(APP)!r}); import wall; wall.build()"
    path = str(detector_for_an_app / "manifest.json")
    ended = run_python("-c", f"{code}; open({path!r})")
    assert "an app does not read manifest.json" in ended.stderr


def test_the_app_reads_the_format_that_is_written():
    assert FORMAT == 1
