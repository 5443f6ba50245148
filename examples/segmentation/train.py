"""Trains the net for some seconds on landscapes drawn here; writes net.pt and pictures/."""

from pathlib import Path

import numpy as np
import torch
from net import Net
from numpy.typing import NDArray
from PIL import Image

COLOURS = np.array([[110, 160, 230], [70, 140, 60], [130, 120, 110]])  # sky, grass, road
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # those of imagenet_stretch


def draw(size: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A picture (size, size, 3) of a road to the horizon, and the class of each pixel."""
    row, column = np.indices((size, size)) / size
    horizon, end, width = random.uniform(0.3, 0.6), random.uniform(0.2, 0.8), random.uniform(0.4, 1)
    is_road = np.abs(column - end) < width * (row - horizon)
    labels = np.where(row < horizon, 0, np.where(is_road, 2, 1))
    picture = COLOURS[labels] + random.normal(0, 15, 3) + random.normal(0, 10, (size, size, 3))
    return picture.clip(0, 255).astype(np.uint8), labels


def main() -> None:
    """Train, and draw larger landscapes that were not trained on."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(40):
        pictures, labels = map(np.stack, zip(*(draw(64, random) for _ in range(8)), strict=True))
        images = torch.tensor((pictures - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
        loss = torch.nn.functional.cross_entropy(net(images), torch.tensor(labels[:, 2::4, 2::4]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), "net.pt")
    Path("pictures").mkdir(exist_ok=True)
    for number in range(4):
        Image.fromarray(draw(160, random)[0]).save(f"pictures/landscape_{number}.png")
    print("wrote net.pt and pictures/")


if __name__ == "__main__":
    main()
