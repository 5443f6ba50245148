#!/usr/bin/env python
"""Train the demo: a small YOLOv3 that finds handwritten digits. Seeded and resumable.

What reproduces the shipped files, from the repository's root after scripts/setup (the first takes
70 minutes on 2 CPU cores; interrupted, it goes on from its checkpoint):

    .venv/bin/python scripts/train_demo.py train --run runs/digits
    .venv/bin/python scripts/train_demo.py ship --run runs/digits   # weights.safetensors
    .venv/bin/python scripts/train_demo.py data                     # samples/ and eval/
    .venv/bin/python scripts/train_demo.py eval                     # mAP on eval/
    .venv/bin/python scripts/train_demo.py eval --fresh 512         # mAP on scenes of other seeds
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from demo_data import EVAL_SCENES, FRESH, write_coco, write_samples
from demo_trainer import CLASSES, WIDTH, build, train
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from training import ship

from deploy.models.yolov3.post import YoloPost
from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.accuracy.evaluation import evaluate, score_table
from deploy.runtime.results.detections import Detections

DEMO = Path(__file__).resolve().parent.parent / "deploy" / "models" / "yolov3" / "demo"
WEIGHTS, EVAL = DEMO / "weights.safetensors", DEMO / "eval"
SCENES = 88_000


def evaluate_set(annotations: Path, run: Path | None) -> None:
    """Print the mAP of the shipped weights, or of a run's averaged ones, on a COCO set."""
    if run is None:
        weights = load_file(WEIGHTS)
    else:
        weights = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    torch.set_num_threads(1)  # for pictures this small more threads only wait for each other
    scores = evaluate(CocoDataset(annotations), _detector(weights))
    print("\n".join(score_table(CocoDataset.titles, {"PyTorch": scores})))


def evaluate_fresh(scenes: int, run: Path | None) -> None:
    """The same on new scenes of held-out handwriting."""
    with TemporaryDirectory() as folder:
        evaluate_set(write_coco(Path(folder), range(FRESH, FRESH + scenes)), run)


def _detector(weights: dict[str, Tensor]) -> Callable[[Path], Detections]:
    model = build().eval()
    model.load_state_dict(weights)
    post = YoloPost("darknet53", num_classes=len(CLASSES))

    def detect(picture: Path) -> Detections:
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        with torch.inference_mode():
            maps = model.pred_maps(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
        return post([raw.numpy() for raw in maps])

    return detect


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    training = steps.add_parser("train", help="train, or go on training")
    training.add_argument("--run", type=Path, default=Path("runs/digits"))
    training.add_argument("--scenes", type=int, default=SCENES, help="how many to train on")
    shipping = steps.add_parser("ship", help="put a run's weights into the package")
    shipping.add_argument("--run", type=Path, default=Path("runs/digits"))
    steps.add_parser("data", help="write the samples and the evaluation set")
    evaluation = steps.add_parser("eval", help="print the mAP on held-out handwriting")
    evaluation.add_argument("--run", type=Path, help="a run instead of the shipped weights")
    evaluation.add_argument("--fresh", type=int, help="as many new scenes, not the shipped set")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    asked = _arguments()
    if asked.step == "train":
        train(asked.run, asked.scenes)
    elif asked.step == "ship":
        model, classes = f"YOLOv3 darknet53 width={WIDTH}", json.dumps(CLASSES)
        about = {"model": model, "classes": classes, "command": "scripts/train_demo.py train"}
        ship(asked.run, WEIGHTS, about)
    elif asked.step == "data":
        write_samples(DEMO / "samples")
        write_coco(EVAL, range(EVAL_SCENES))
    elif asked.fresh:
        evaluate_fresh(asked.fresh, asked.run)
    else:
        evaluate_set(EVAL / "annotations.json", asked.run)


if __name__ == "__main__":
    main()
