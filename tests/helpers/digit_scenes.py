"""Pictures of the demo's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.runtime.vision.image import load_image

ROOT = Path(__file__).parents[2]
SCENES = sorted((ROOT / "deploy" / "models" / "yolov3" / "demo" / "samples").glob("*.png"))
SCENE = load_image(SCENES[0])


def scene(number: int) -> np.ndarray:
    """A crop of a scene, different for each number."""
    picture = load_image(SCENES[number % len(SCENES)])
    return picture[number // len(SCENES) * 7 :, number * 5 :]
