"""Trains the net for some seconds on patterns drawn here; writes net.pt and pictures/."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from net import Net
from PIL import Image

CLASSES = ["rows", "columns", "dots"]
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # those of +pre=imagenet


def draw(name: str, size: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture (size, size, 3) of a pattern in two random colours."""
    width, *shift = random.integers(5, 9, 3)
    row, column = ((np.indices((size, size)).T + shift) // width % 2).T
    pattern = {"rows": row, "columns": column, "dots": row & column}[name]
    dark, bright = random.integers(0, 100, 3), random.integers(150, 256, 3)
    return np.where(pattern[..., None], bright, dark).astype(np.uint8)


def main() -> None:
    """Train, and draw pictures that were not trained on."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    labels = torch.arange(24) % 3
    for _ in range(40):
        pictures = np.stack([draw(CLASSES[label], 64, random) for label in labels])
        images = torch.tensor((pictures - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), "net.pt")
    Path("pictures").mkdir(exist_ok=True)
    for name in CLASSES:
        for number in range(2):
            Image.fromarray(draw(name, 96, random)).save(f"pictures/{name}_{number}.png")
    print("wrote net.pt and pictures/")


if __name__ == "__main__":
    main()
