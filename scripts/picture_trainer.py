"""The trainers of the classifier's and the segmenter's demo: networks, batches and steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from digit_sets import digits, labelled_scene
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from training import Pace, Training

from deploy.models.resnet.build import ResNet
from deploy.models.unet.build import UNet

DIGITS = [str(digit) for digit in range(10)]
CROP = 64  # pixels of the classifier's input
_SCENES = 24  # for a batch of the classifier: some 130 digits
_PICTURES = 16  # for a batch of the segmenter
_SAVE_EVERY = 100  # steps


class _DigitBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch ``i``: the digits (n, 3, 64, 64) uint8 of its scenes, and their labels (n,)."""

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        crops = list(digits(range(index * _SCENES, (index + 1) * _SCENES), held_out=False))
        size = (CROP, CROP)
        resized = [Image.fromarray(crop.image).resize(size, _BILINEAR) for crop in crops]
        images = torch.from_numpy(np.stack([np.asarray(image) for image in resized]))
        return images.permute(0, 3, 1, 2), torch.tensor([crop.label for crop in crops])


class _SceneBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch ``i``: scenes (n, 3, 112, 112) uint8, and their labels (n, 112, 112)."""

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        seeds = range(index * _PICTURES, (index + 1) * _PICTURES)
        images, labels = zip(*(labelled_scene(seed, held_out=False) for seed in seeds), strict=True)
        pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return pictures, torch.from_numpy(np.stack(labels)).long()


_BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Demo:
    """What is trained: the network, its batches, how fast, for how many steps."""

    name: str
    text: str
    classes: list[str]
    build: Callable[[], nn.Module]
    batches: Dataset[tuple[Tensor, Tensor]]
    pace: Pace
    steps: int


CLASSIFIER = Demo(
    "resnet",
    "ResNet depth=18 width=16",
    DIGITS,
    lambda: ResNet(18, num_classes=10, width=16),
    _DigitBatches(),
    Pace(rate=3e-3, warm_up=100, decay=0.02, clip=10.0, keep=0.995),
    steps=1_500,
)


SEGMENTER = Demo(
    "unet",
    "UNet width=16 levels=5",
    ["background", "ink"],
    lambda: UNet(num_classes=2, width=16, levels=5),
    _SceneBatches(),
    Pace(rate=3e-3, warm_up=100, decay=0.02, clip=10.0, keep=0.995),
    steps=900,
)


def train(demo: Demo, run: Path, steps: int) -> None:
    """Train, or go on where an earlier run stopped; every 100 steps a checkpoint.

    Args:
        demo: what is trained.
        run: the folder of the checkpoint.
        steps: of the whole training.
    """
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = demo.build().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    training = Training(model, demo.pace, run)
    losses: list[float] = []
    start = time.perf_counter()
    for pictures, truth in _batches(demo, training.step, steps):
        rate = demo.pace.at(training.step, steps)
        losses.append(_train_step(training, pictures, truth, rate))
        if training.step % _SAVE_EVERY == 0 or training.step == steps:
            training.save()
            seconds = (time.perf_counter() - start) / len(losses)
            loss = sum(losses[-_SAVE_EVERY:]) / len(losses[-_SAVE_EVERY:])
            line = f"step {training.step}/{steps}  loss {loss:.4f}  {seconds:.2f} s a step"
            print(line, flush=True)


def scaled(pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) uint8 as the networks take them: from -1 to 1."""
    return pictures.float().sub(127.5).div(127.5)


def _train_step(training: Training, pictures: Tensor, truth: Tensor, rate: float) -> float:
    inputs = scaled(pictures).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = training.model(inputs)
    loss = nn.functional.cross_entropy(logits.float(), truth)
    training.descend(loss, rate)
    return loss.item()


def _batches(demo: Demo, step: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = range(step, steps)
    return iter(
        DataLoader(demo.batches, batch_size=None, sampler=order, num_workers=1, prefetch_factor=4)
    )
