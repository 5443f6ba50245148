"""The trainer of the demo: its network, its scenes and its steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from digit_scenes import Scene, make_scene
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from training import Pace, Training
from yolo_loss import Truth, yolo_loss

from deploy.models.yolov3.build import YOLOv3

CLASSES = [str(digit) for digit in range(10)]
WIDTH = 0.25
BATCH = 16  # scenes a step
_PACE = Pace(rate=2e-3, warm_up=200, decay=0.02, clip=300.0, keep=0.9985)
_SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Scenes(Dataset[Scene]):
    """Training scenes: number ``i`` is the scene of seed ``i``."""

    start: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:
        return make_scene(self.start + index, held_out=False)


def build() -> YOLOv3:
    """The demo's network."""
    return YOLOv3("darknet53", num_classes=len(CLASSES), width=WIDTH)


def train(run: Path, scenes: int) -> None:
    """Train, or go on where an earlier run stopped; every 100 steps a checkpoint.

    Args:
        run: the folder of the checkpoint.
        scenes: how many scenes the whole training sees.
    """
    run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(run)
    steps = scenes // BATCH
    losses: list[float] = []
    start = time.perf_counter()
    for pictures, truth in _batches(trainer.step, steps):
        losses.append(trainer.train_step(pictures, truth, learning_rate(trainer.step, steps)))
        if trainer.step % _SAVE_EVERY == 0 or trainer.step == steps:
            trainer.save()
            speed = len(losses) * BATCH / (time.perf_counter() - start)
            loss = sum(losses[-_SAVE_EVERY:]) / len(losses[-_SAVE_EVERY:])
            line = f"step {trainer.step}/{steps}  loss {loss:.2f}  {speed:.1f} scenes/s"
            print(line, flush=True)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    return _PACE.at(step, steps)


def collate(scenes: list[Scene]) -> tuple[Tensor, Truth]:
    """Scenes to a picture batch (N, 3, H, W) from 0 to 1, and all their digits."""
    pictures = torch.stack([torch.from_numpy(scene.image.copy()) for scene in scenes])
    truth = Truth(
        torch.cat([torch.full((len(scene.labels),), i) for i, scene in enumerate(scenes)]),
        torch.cat([torch.from_numpy(scene.boxes) for scene in scenes]),
        torch.cat([torch.from_numpy(scene.labels) for scene in scenes]),
    )
    return pictures.permute(0, 3, 1, 2).float() / 255, truth


class Trainer(Training):
    """The training of the demo's network.

    Args:
        run: the folder of the checkpoint; an existing one is taken up.
    """

    model: YOLOv3

    def __init__(self, run: Path) -> None:
        torch.manual_seed(0)
        model = build().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        _expect_nothing(model)
        super().__init__(model, _PACE, run)

    def train_step(self, pictures: Tensor, truth: Truth, rate: float) -> float:
        """One step of the optimiser; returns the loss per picture."""
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.model.pred_maps(pictures)
        maps = tuple(raw.float() for raw in maps)
        loss = yolo_loss(maps, truth, self.model.anchors, len(CLASSES))
        self.descend(loss, rate)
        return loss.item()


def _expect_nothing(model: YOLOv3) -> None:
    """Begin with a low objectness: almost everywhere there is no digit."""
    for key, bias in model.named_parameters():
        if "convs_pred" in key and key.endswith("bias"):
            torch.nn.init.zeros_(bias)
            bias.data.view(-1, 5 + len(CLASSES))[:, 4] = -5.0


def _batches(step: int, steps: int) -> Iterator[tuple[Tensor, Truth]]:
    data = Scenes(step * BATCH, (steps - step) * BATCH)
    return iter(DataLoader(data, BATCH, collate_fn=collate, num_workers=1, prefetch_factor=4))
