"""Writes pre.npz beside it: pictures as torchvision, transformers and Ultralytics prepare them.

It runs in an environment of its own, since none of them is needed here:

    pip install numpy pillow torch torchvision transformers ultralytics
    python tests/data/vision/make.py

Written with torchvision 0.29.1, transformers 5.24.0, Ultralytics 8.4.190, Pillow 13.0. The pictures
are random pixels, ``picture`` of tests/runtime/vision/test_pre_goldens.py.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
from PIL import Image

# torchvision's compiled operators need a torch of the same build; its transforms need none of them
sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")

from torchvision import transforms  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: E402
from ultralytics.data.augment import LetterBox  # noqa: E402

OUT = Path(__file__).with_name("pre.npz")
SIZES = ((37, 53), (80, 41), (20, 20), (33, 90), (22, 22), (9, 7), (1, 60))  # height, width
FEW = SIZES[:3]
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, SHORTEST = 20, 23


def main() -> None:
    """Write the file."""
    arrays: dict[str, np.ndarray] = {}
    for name in FILTERS:
        mode = InterpolationMode(name)
        for height, width in SIZES if name == "bilinear" else FEW:
            key = f"{name}/{height}x{width}"
            image = picture(height, width)
            crop = [transforms.Resize(SHORTEST, mode), transforms.CenterCrop(SIDE)]
            arrays[f"crop/{key}"] = pixels(crop, image)
            arrays[f"stretch/{key}"] = pixels([transforms.Resize((SIDE, 12), mode)], image)
    wide = [transforms.Resize(SHORTEST), transforms.CenterCrop((SIDE, 31))]
    arrays["wide/20x20"] = pixels(wide, picture(20, 20))  # padded left and right
    grey = [transforms.Grayscale(), transforms.Resize((SIDE, SIDE))]
    arrays["grey/37x53"] = pixels(grey, picture(37, 53))
    image = picture(37, 53)
    steps = [transforms.Resize(SHORTEST), transforms.CenterCrop(SIDE), transforms.ToTensor()]
    normalised = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    arrays["imagenet/37x53"] = normalised(image).numpy()
    clip = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    for height, width in ((40, 60), (44, 20), (9, 9)):  # what it crops is even
        made = clip(picture(height, width), return_tensors="np")["pixel_values"][0]
        arrays[f"clip/{height}x{width}"] = made.astype(np.float32)
    arrays["letterbox"] = np.array([letterboxed(*size) for size in letterbox_sizes()])
    np.savez_compressed(OUT, **arrays)


def picture(height: int, width: int) -> Image.Image:
    """A picture of random pixels."""
    state = np.random.RandomState(height * 1000 + width)
    return Image.fromarray(state.randint(0, 256, (height, width, 3)).astype(np.uint8))


def pixels(steps: list[object], image: Image.Image) -> np.ndarray:
    """(channels, height, width) uint8."""
    return transforms.Compose([*steps, transforms.PILToTensor()])(image).numpy()


def letterbox_sizes() -> list[tuple[int, int]]:
    """Heights and widths, portrait and landscape, smaller and larger than the tensor."""
    return [tuple(size) for size in np.random.RandomState(0).randint(1, 400, (300, 2)).tolist()]


def letterboxed(height: int, width: int) -> tuple[int, int, int, int, int, int]:
    """The size of a picture, and the rows and columns of 64 x 48 that it fills."""
    white = np.full((height, width, 3), 255, np.uint8)
    ratio = min(64 / height, 48 / width)
    if min(round(height * ratio), round(width * ratio)) < 1:
        return height, width, -1, -1, -1, -1
    made = LetterBox((64, 48), auto=False)(image=white)[:, :, 0] == 255
    rows, columns = np.flatnonzero(made.any(1)), np.flatnonzero(made.any(0))
    return height, width, rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


if __name__ == "__main__":
    main()
