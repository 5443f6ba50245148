#!/usr/bin/env python
"""Train the second demo: a small Mask R-CNN that finds handwritten digits and their ink.

Seeded, and resumable: interrupted, or asked for more steps, it goes on from its checkpoint. What
makes the shipped files, from the repository's root after scripts/setup:

    .venv/bin/python scripts/train_mask_demo.py train --run runs/mask_digits
    .venv/bin/python scripts/train_mask_demo.py ship --run runs/mask_digits  # weights.safetensors
    .venv/bin/python scripts/train_mask_demo.py data                         # eval/annotations.json
    .venv/bin/python scripts/train_mask_demo.py eval                         # mAP on eval/
    .venv/bin/python scripts/train_mask_demo.py eval --fresh 512             # mAP on other scenes
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from demo_data import EVAL_SCENES, FRESH, write_coco
from demo_trainer import CLASSES
from mask_data import write_masks
from mask_detector import detect
from mask_trainer import STEPS, WIDTH, build, train
from safetensors.torch import load_file
from training import ship

from deploy.runtime.accuracy.coco import CocoDataset
from deploy.runtime.accuracy.evaluation import evaluate, score_table

MODELS = Path(__file__).resolve().parent.parent / "deploy" / "models"
DEMO, PICTURES = MODELS / "mask_rcnn" / "demo", MODELS / "yolov3" / "demo" / "eval"
COMMAND = "scripts/train_mask_demo.py train"
WEIGHTS, ANNOTATIONS = DEMO / "weights.safetensors", DEMO / "eval" / "annotations.json"


def write_eval() -> None:
    """Write the masks of the first demo's evaluation set, whose pictures stay where they are."""
    folder = "../../../yolov3/demo/eval/"
    write_masks(PICTURES / "annotations.json", range(EVAL_SCENES), ANNOTATIONS, folder)


def evaluate_set(annotations: Path, run: Path | None) -> None:
    """Print the mAP of the shipped weights, or of a run's averaged ones, on a COCO set."""
    if run is None:
        weights = load_file(WEIGHTS)
    else:
        weights = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    torch.set_num_threads(1)  # for pictures this small more threads only wait for each other
    model = build().eval()
    model.load_state_dict(weights)
    scores = evaluate(CocoDataset(annotations), lambda picture: detect(model, picture))
    print("\n".join(score_table(CocoDataset.titles, {"PyTorch": scores})))


def evaluate_fresh(scenes: int, run: Path | None) -> None:
    """The same on new scenes of held-out handwriting."""
    seeds = range(FRESH, FRESH + scenes)
    with TemporaryDirectory() as folder:
        annotations = write_coco(Path(folder), seeds)
        write_masks(annotations, seeds, annotations)
        evaluate_set(annotations, run)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    training = steps.add_parser("train", help="train, or go on training")
    training.add_argument("--run", type=Path, default=Path("runs/mask_digits"))
    training.add_argument("--steps", type=int, default=STEPS, help="of the whole training")
    training.add_argument("--processes", type=int, default=2, help="that share each step")
    shipping = steps.add_parser("ship", help="put a run's weights into the package")
    shipping.add_argument("--run", type=Path, default=Path("runs/mask_digits"))
    steps.add_parser("data", help="write the masks of the evaluation set")
    evaluation = steps.add_parser("eval", help="print the mAP on held-out handwriting")
    evaluation.add_argument("--run", type=Path, help="a run instead of the shipped weights")
    evaluation.add_argument("--fresh", type=int, help="as many new scenes, not the shipped set")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    asked = _arguments()
    if asked.step == "train":
        train(asked.run, asked.steps, asked.processes)
    elif asked.step == "ship":
        classes = json.dumps(CLASSES)
        about = {"model": f"MaskRCNN width={WIDTH}", "classes": classes, "command": COMMAND}
        ship(asked.run, WEIGHTS, about)
    elif asked.step == "data":
        write_eval()
    elif asked.fresh:
        evaluate_fresh(asked.fresh, asked.run)
    else:
        evaluate_set(ANNOTATIONS, asked.run)


if __name__ == "__main__":
    main()
