"""From the command line to masks in a picture, with the mask head on every engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime import Pipeline
from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, QUICK, output_of

pytestmark = pytest.mark.slow

DEMO = Path(__file__).parents[3] / "deploy" / "models" / "mask_rcnn" / "demo"
TRUTH = DEMO / "eval" / "annotations.json"
CPU = [backend for backend in ("onnxruntime", "ncnn") if backend in BACKENDS]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """A sweep over placements: the mask head on each engine, the rest on ONNX Runtime."""
    folder = tmp_path_factory.mktemp("sweep")
    output_of(
        "deploy", "-m", "+model=mask_rcnn", "+backend=onnxruntime",
        f"+backend@chain.mask_head={','.join(CPU)}", QUICK, cwd=folder,
    )  # fmt: skip
    return next((folder / "multirun").iterdir())


@pytest.fixture(scope="module")
def mixed_mask_rcnn_bundle(sweep) -> Path:
    """The bundle whose engines are not all of one backend."""
    return sweep / str(len(CPU) - 1) / "bundle"


def test_a_sweep_over_placements_agrees_with_pytorch_on_each(sweep):
    rows = json.loads((sweep / "results.json").read_text())
    assert [row["backend"] for row in rows] == ["onnxruntime", "onnxruntime+ncnn"][: len(CPU)]
    assert {row["status"] for row in rows} == {"passed"}


def test_every_detection_has_its_partner_and_its_mask(mixed_mask_rcnn_bundle):
    notes = read_manifest(mixed_mask_rcnn_bundle).verification.notes
    assert notes["detections_matched"] == notes["detections"] > 80
    assert notes["mask_iou"] > 0.99


def test_the_bundle_checks_on_the_device(mixed_mask_rcnn_bundle):
    said = output_of("deploy.runtime", "check", mixed_mask_rcnn_bundle, cwd=mixed_mask_rcnn_bundle)
    assert "BAD" not in said and "masks from IoU" in said


def test_masks_are_drawn_and_written(mixed_mask_rcnn_bundle, tmp_path):
    picture = mixed_mask_rcnn_bundle / "sample" / "image.png"
    words = ["run", mixed_mask_rcnn_bundle, picture, "--json", "found.json", "--out", "drawn"]
    output_of("deploy.runtime", *words, cwd=tmp_path)
    (found,) = json.loads((tmp_path / "found.json").read_text())
    sure = [row for row in found["detections"] if row["score"] > 0.5]
    assert len(sure) >= 8
    with Image.open(picture) as before, Image.open(tmp_path / "drawn" / "image.png") as after:
        assert all(row["mask"]["size"] == [before.height, before.width] for row in sure)
        changed = (np.asarray(before.convert("RGB")) != np.asarray(after)).any(2).sum()
    assert changed > sum(sum(row["mask"]["counts"][1::2]) for row in sure) / 2


def test_what_is_found_is_what_is_there(mixed_mask_rcnn_bundle):
    said = output_of(
        "deploy.runtime",
        "eval",
        mixed_mask_rcnn_bundle,
        TRUTH,
        "--limit",
        32,
        "--json",
        "-",
        cwd=mixed_mask_rcnn_bundle,
    )
    report = json.loads(said)
    assert report["scores"]["map_50"] > 0.9 and report["scores"]["mask_map_50"] > 0.88
    steps = ["features", "proposals", "box_regions", "box_head", "detections", "mask_regions"]
    assert set(report["milliseconds"]) >= {*steps, "mask_head"}


def test_nothing_to_find_is_no_error(mixed_mask_rcnn_bundle):
    with Pipeline.open(mixed_mask_rcnn_bundle) as pipeline:
        found = pipeline(np.full((240, 320, 3), 90, np.uint8)).above(0.3)
    assert len(found) == 0 and found.masks is not None
    assert found.masks.dense().shape == (0, 240, 320)


def test_regions_are_pooled_in_the_engine_or_on_the_host_alike(mixed_mask_rcnn_bundle, tmp_path):
    words = ["+model=mask_rcnn", "+partition=regions_in_engine", "+backend=onnxruntime"]
    output_of("deploy", *words, "bench.runs=0", "bundle=b", cwd=tmp_path)
    picture = next(iter(CocoDataset(TRUTH, limit=1).pictures.values()))
    with Pipeline.open(tmp_path / "b") as inside, Pipeline.open(mixed_mask_rcnn_bundle) as outside:
        one, other = inside(picture).above(0.3), outside(picture).above(0.3)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert min(one.masks.iou(at, other.masks, at) for at in range(len(one))) > 0.99


def test_masks_are_equal_in_a_process_of_its_own(mixed_mask_rcnn_bundle):
    picture = next(iter(CocoDataset(TRUTH, limit=1).pictures.values()))
    with (
        Pipeline.open(mixed_mask_rcnn_bundle, threads=1) as here,
        Pipeline.open(mixed_mask_rcnn_bundle, threads=1, isolate="always") as apart,
    ):
        expected, found = here(picture), apart(picture)
    assert len(found) and found.to_json() == expected.to_json()
    assert found.masks.dense().any()
