"""Trains the net for some seconds on scenes drawn here; writes net.pt and pictures/."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from net import Net
from PIL import Image

Scene = tuple[npt.NDArray[np.uint8], list[tuple[int, int, int, int, int]]]
COLOURS = ([220, 60, 50], [60, 90, 220])  # the classes: red, blue


def draw(size: int, random: np.random.Generator) -> Scene:
    """A picture (size, size, 3) with blocks, and of each label, x, y, width and height."""
    picture = random.normal(128, 15, (size, size, 3))
    half, blocks = size // 2, []
    for x, y in [(0, 0), (half, 0), (0, half), (half, half)]:
        label, width, height = random.integers((0, half // 4, half // 4), (3, half - 4, half - 4))
        if label < len(COLOURS):
            x, y = x + random.integers(half - width), y + random.integers(half - height)
            picture[y : y + height, x : x + width] = COLOURS[label] + random.normal(0, 20, 3)
            blocks.append((label, x, y, width, height))
    return picture.clip(0, 255).astype(np.uint8), blocks


def maps(blocks: list[tuple[int, int, int, int, int]]) -> npt.NDArray[np.float32]:
    """What the net shall say of a picture: heat of either class, width and height (4, 16, 16)."""
    wanted = np.zeros((4, 16, 16), np.float32)
    rows, columns = np.indices((16, 16)) * 4 + 2
    for label, x, y, width, height in blocks:
        distance = (columns - x - width / 2) ** 2 + (rows - y - height / 2) ** 2
        wanted[label] = np.maximum(wanted[label], np.exp(-distance / 32))
        wanted[2:, distance < 32] = [[width / 4], [height / 4]]
    return wanted


def main() -> None:
    """Train, and draw larger scenes that were not trained on."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(150):
        scenes = [draw(64, random) for _ in range(12)]
        pictures = np.stack([picture for picture, _ in scenes])
        wanted = torch.tensor(np.stack([maps(blocks) for _, blocks in scenes]))
        found = net(torch.tensor(pictures / 255, dtype=torch.float32).permute(0, 3, 1, 2))
        heat = torch.nn.functional.binary_cross_entropy(
            found["heat"], wanted[:, :2], 1 + 9 * wanted[:, :2]
        )
        sized = wanted[:, 2:] > 0
        size = (found["size"].log() - wanted[:, 2:].clamp(min=1).log())[sized].abs().mean()
        loss = heat + size / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(net.state_dict(), "net.pt")
    Path("pictures").mkdir(exist_ok=True)
    for number in range(4):
        Image.fromarray(draw(128, random)[0]).save(f"pictures/scene_{number}.png")
    print("wrote net.pt and pictures/")


if __name__ == "__main__":
    main()
