"""The trainer of the demo: optimiser, schedule, averaged weights and checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from digit_scenes import Scene, make_scene
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from yolo_loss import Truth, yolo_loss

from deploy.models.yolov3.build import YOLOv3

CLASSES = [str(digit) for digit in range(10)]
WIDTH = 0.25
BATCH = 16  # scenes a step
_RATE, _WARM_UP, _DECAY = 2e-3, 200, 0.02  # AdamW; steps; weight decay
_KEEP = 0.9985  # of the average at every step
_CLIP = 300.0  # the longest gradient
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
    if step < _WARM_UP:
        return _RATE * (step + 1) / _WARM_UP
    done = (step - _WARM_UP) / max(1, steps - _WARM_UP)
    return _RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2)


def collate(scenes: list[Scene]) -> tuple[Tensor, Truth]:
    """Scenes to a picture batch (N, 3, H, W) from 0 to 1, and all their digits."""
    pictures = torch.stack([torch.from_numpy(scene.image.copy()) for scene in scenes])
    truth = Truth(
        torch.cat([torch.full((len(scene.labels),), i) for i, scene in enumerate(scenes)]),
        torch.cat([torch.from_numpy(scene.boxes) for scene in scenes]),
        torch.cat([torch.from_numpy(scene.labels) for scene in scenes]),
    )
    return pictures.permute(0, 3, 1, 2).float() / 255, truth


class Trainer:
    """The network, its averaged copy and the optimiser, kept in one checkpoint.

    Args:
        run: the folder of the checkpoint; an existing one is taken up.
    """

    def __init__(self, run: Path) -> None:
        torch.manual_seed(0)
        self.path = run / "checkpoint.pt"
        self.model = build().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        _expect_nothing(self.model)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), _RATE, weight_decay=_DECAY)
        self.average = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.step = 0
        if self.path.exists():
            self._restore()

    def train_step(self, pictures: Tensor, truth: Truth, rate: float) -> float:
        """One step of the optimiser; returns the loss per picture."""
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.model.pred_maps(pictures)
        maps = tuple(raw.float() for raw in maps)
        loss = yolo_loss(maps, truth, self.model.anchors, len(CLASSES))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint aside and rename it."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def _restore(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]

    def _update_average(self) -> None:
        keep = min(_KEEP, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)
            else:
                self.average[key].copy_(value)


def _expect_nothing(model: YOLOv3) -> None:
    """Begin with a low objectness: almost everywhere there is no digit."""
    for key, bias in model.named_parameters():
        if "convs_pred" in key and key.endswith("bias"):
            torch.nn.init.zeros_(bias)
            bias.data.view(-1, 5 + len(CLASSES))[:, 4] = -5.0


def _batches(step: int, steps: int) -> Iterator[tuple[Tensor, Truth]]:
    data = Scenes(step * BATCH, (steps - step) * BATCH)
    return iter(DataLoader(data, BATCH, collate_fn=collate, num_workers=1, prefetch_factor=4))
