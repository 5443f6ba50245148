#!/usr/bin/env python
"""Train the classifier's or the segmenter's demo on handwritten digits. Seeded and resumable.

What reproduces the shipped files, from the repository's root after scripts/setup. DEMO is resnet
or unet:

    .venv/bin/python scripts/train_picture_demo.py DEMO train    # into runs/DEMO
    .venv/bin/python scripts/train_picture_demo.py DEMO ship     # weights.safetensors
    .venv/bin/python scripts/train_picture_demo.py DEMO data     # samples/ and eval/

The scores on eval/, and on another set of held-out handwriting:

    .venv/bin/python -m deploy +model=DEMO +backend=onnxruntime verify.eval=true
    .venv/bin/python scripts/train_picture_demo.py DEMO fresh --to runs/fresh
    .venv/bin/python -m deploy +model=DEMO +backend=onnxruntime verify.eval=true \
        model.eval=runs/fresh
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from demo_data import FRESH
from digit_sets import digits, labelled_scene, write_folders, write_label_maps
from picture_trainer import CLASSIFIER, SEGMENTER, Demo, train
from PIL import Image
from training import ship

MODELS = Path(__file__).resolve().parent.parent / "deploy" / "models"
DEMOS = {demo.name: demo for demo in (CLASSIFIER, SEGMENTER)}
SAMPLES = 2_000_000  # the first seed of samples
EACH, EACH_FRESH = 30, 200  # pictures of each digit in a set of the classifier
SCENES, SCENES_FRESH = 48, 512  # in a set of the segmenter
SHOWN = 12  # samples


def write_samples(demo: Demo, folder: Path) -> None:
    """Write scenes, or the largest digit of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(range(SAMPLES, SAMPLES + SHOWN)):
        image, _ = labelled_scene(seed, held_out=True)
        if demo is CLASSIFIER:
            image = max((digit.image for digit in digits([seed], held_out=True)), key=len)
        Image.fromarray(image).save(folder / f"{number:02}.png", optimize=True)


def write_set(demo: Demo, folder: Path, first: int, each: int, scenes: int) -> None:
    """Write a data set of held-out handwriting.

    Args:
        demo: whose.
        folder: of the set.
        first: the first seed.
        each: pictures of each digit, of the classifier's set.
        scenes: of the segmenter's set.
    """
    if demo is CLASSIFIER:
        write_folders(folder, each, range(first, first + 1_000 * each))
    else:
        write_label_maps(folder, range(first, first + scenes))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", choices=DEMOS)
    parser.add_argument("step", choices=("train", "ship", "data", "fresh"))
    parser.add_argument("--run", type=Path, help="the run's folder (default: runs/DEMO)")
    parser.add_argument("--steps", type=int, help="of the whole training")
    parser.add_argument("--to", type=Path, default=Path("runs/fresh"), help="where fresh writes")
    arguments = parser.parse_args()
    demo = DEMOS[arguments.demo]
    folder, run = MODELS / demo.name / "demo", arguments.run or Path("runs") / demo.name
    match arguments.step:
        case "train":
            torch.set_num_threads(1)  # the other core makes the scenes
            train(demo, run, arguments.steps or demo.steps)
        case "ship":
            command = f"scripts/train_picture_demo.py {demo.name} train"
            about = {"model": demo.text, "classes": json.dumps(demo.classes), "command": command}
            ship(run, folder / "weights.safetensors", about)
        case "data":
            write_samples(demo, folder / "samples")
            write_set(demo, folder / "eval", 0, EACH, SCENES)
        case "fresh":
            write_set(demo, arguments.to, FRESH, EACH_FRESH, SCENES_FRESH)


if __name__ == "__main__":
    main()
