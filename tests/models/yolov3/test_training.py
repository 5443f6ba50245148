"""The demo's training: its objective agrees with inference, and it goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from demo_data import write_coco
from demo_trainer import Trainer, build, collate, learning_rate
from digit_scenes import make_scene
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import load_file
from yolo_loss import Truth, yolo_loss

from deploy.models.yolov3.anchors import ANCHORS

DEMO = Path(__file__).parents[3] / "deploy" / "models" / "yolov3" / "demo"
SIZES = ANCHORS["darknet53"]
ROWS = 15  # five attributes and ten classes of an anchor


def silent_maps(side=64):
    """Head maps that find nothing."""
    return [torch.full((1, 3 * ROWS, side // step, side // step), -9.0) for step in (32, 16, 8)]


def maps_that_find(label):
    """Head maps whose one detection is the anchor (16, 30) of stride 8, centred on (36, 28)."""
    maps = silent_maps()
    row = maps[2][0, ROWS : 2 * ROWS, 3, 4]
    row[:4] = 0.0
    row[4], row[5 + label] = 9.0, 9.0
    return maps


def one_digit(label):
    return Truth(torch.tensor([0]), torch.tensor([[28.0, 13, 44, 43]]), torch.tensor([label]))


def test_maps_that_decode_to_the_truth_cost_least():
    truth = one_digit(label=7)
    found, wrong, silent = (
        float(yolo_loss(maps, truth, SIZES, 10))
        for maps in (maps_that_find(7), maps_that_find(3), silent_maps())
    )
    assert found < wrong
    assert found < silent
    boxes, scores, objectness = build().decode(maps_that_find(7))
    best = int(objectness[0].argmax())
    torch.testing.assert_close(boxes[0, best], one_digit(7).boxes[0])
    assert int(scores[0, best].argmax()) == 7


def test_a_scene_without_digits_teaches_silence():
    nothing = Truth(torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0).long())
    assert float(yolo_loss(silent_maps(), nothing, SIZES, 10)) < 0.1
    assert float(yolo_loss(maps_that_find(7), nothing, SIZES, 10)) > 5


def test_a_batch_knows_which_picture_a_digit_is_in():
    scenes = [make_scene(seed, held_out=False, height=96, width=128) for seed in range(3)]
    pictures, truth = collate(scenes)
    assert pictures.shape == (3, 3, 96, 128)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    for index, scene in enumerate(scenes):
        mine = truth.picture == index
        np.testing.assert_array_equal(truth.boxes[mine], scene.boxes)
        np.testing.assert_array_equal(truth.labels[mine], scene.labels)


def test_training_goes_on_from_its_checkpoint(tmp_path):
    pictures, truth = collate([make_scene(1, held_out=False, height=128, width=128)])
    trainer = Trainer(tmp_path)
    trainer.train_step(pictures, truth, rate=1e-3)
    trainer.save()
    trainer.train_step(pictures, truth, rate=1e-3)
    resumed = Trainer(tmp_path)
    resumed.train_step(pictures, truth, rate=1e-3)
    assert resumed.step == trainer.step == 2
    for key, value in trainer.average.items():
        torch.testing.assert_close(resumed.average[key], value, msg=key)


def test_the_rate_warms_up_and_then_falls_to_a_hundredth():
    rates = [learning_rate(step, 1000) for step in range(1001)]
    peak = int(np.argmax(rates))
    assert rates[0] < rates[peak] / 100
    assert 150 < peak < 250
    assert rates[-1] == pytest.approx(rates[peak] / 100)
    assert np.all(np.diff(rates[peak:]) <= 0)


def test_an_evaluation_set_is_one_that_coco_reads(tmp_path):
    coco = COCO(str(write_coco(tmp_path / "set", [11, 12])))
    for image, seed in zip(coco.loadImgs(coco.getImgIds()), (11, 12), strict=True):
        scene = make_scene(seed, held_out=True)
        rows = coco.imgToAnns[image["id"]]
        assert [row["category_id"] for row in rows] == scene.labels.tolist()
        boxes = np.array([row["bbox"] for row in rows])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, scene.boxes)
        picture = np.asarray(Image.open(tmp_path / "set" / image["file_name"]), np.int16)
        assert np.abs(picture - scene.image).mean() < 10


def test_the_shipped_evaluation_set_is_whole():
    coco = COCO(str(DEMO / "eval" / "annotations.json"))
    assert [row["name"] for row in coco.loadCats(sorted(coco.getCatIds()))] == list("0123456789")
    assert len(coco.getImgIds()) >= 96
    for row in coco.loadImgs(coco.getImgIds()):
        with Image.open(DEMO / "eval" / row["file_name"]) as picture:
            assert picture.size == (row["width"], row["height"])


def test_the_shipped_data_are_small():
    sizes = {path: path.stat().st_size for path in DEMO.rglob("*") if path.is_file()}
    weights = sizes.pop(DEMO / "weights.safetensors")
    assert weights <= 10e6
    assert sum(sizes.values()) <= 6e6


def test_the_shipped_weights_are_the_demos():
    build().load_state_dict(load_file(DEMO / "weights.safetensors"))
