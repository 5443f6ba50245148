"""The trainer of the Mask R-CNN demo: its network, its scenes, and its steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from demo_trainer import CLASSES
from digit_scenes import Scene, make_scene
from mask_losses import mask_losses
from mask_targets import Truth
from torch import Tensor, distributed, multiprocessing, nn
from torch.utils.data import DataLoader, Dataset
from training import Pace, Training

from deploy.models.mask_rcnn.build import MaskRCNN

WIDTH = 0.25
BATCH = 16  # the most scenes a step
STEPS = 4000
_PACE = Pace(rate=1.5e-3, warm_up=200, decay=0.02, clip=5.0, keep=0.998)
_SMALL, _FULL = (192, BATCH), (320, 6)  # pixels of a scene's side, scenes a step
_SMALL_SHARE = 0.85  # of the steps; they cost as much as the others and show more digits
_SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Share:
    """One of several processes that train together, each with its part of every step."""

    rank: int
    processes: int


@dataclass(frozen=True)
class Scenes(Dataset[Scene]):
    """Training scenes of one size; numbers ``BATCH * s`` and on are those of step ``s``."""

    step: int
    count: int
    side: int
    batch: int
    share: Share

    def __len__(self) -> int:
        return self.count * self.batch

    def __getitem__(self, index: int) -> Scene:
        step, number = divmod(index, self.batch)
        number = number * self.share.processes + self.share.rank
        seed, side = (self.step + step) * BATCH + number, self.side
        return make_scene(seed, held_out=False, height=side, width=side, zoom=_FULL[0] / side)


def build() -> MaskRCNN:
    """The demo's network."""
    return MaskRCNN(num_classes=len(CLASSES), width=WIDTH)


def train(run: Path, steps: int, processes: int) -> None:
    """Train, or go on where an earlier run stopped; every 100 steps a checkpoint.

    Args:
        run: the folder of the checkpoint.
        steps: of the whole training; more than an earlier run had makes it go on.
        processes: that share each step, a core each; 1 or 2.
    """
    run.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        multiprocessing.start_processes(
            _train, (processes, run, steps, meeting), processes, start_method="fork"
        )


def _train(rank: int, processes: int, run: Path, steps: int, meeting: str) -> None:
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=processes)
    torch.set_num_threads(1)  # two of them wait for each other wherever a core has other work
    torch.manual_seed(0)
    model = _initialised(build()).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    training = Training(model, _PACE, run)
    distributed.barrier()  # nobody writes the checkpoint before all have read it
    seen: list[dict[str, float]] = []
    start = time.perf_counter()
    for pictures, truth in _batches(training.step, steps, Share(rank, processes)):
        torch.manual_seed(training.step)  # draws the same regions when it goes on
        losses = mask_losses(model, pictures.contiguous(memory_format=torch.channels_last), truth)
        loss = torch.stack(list(losses.values())).sum()
        training.descend(loss, _PACE.at(training.step, steps))
        seen.append({name: loss.item() for name, loss in losses.items()})
        if rank == 0 and (training.step % _SAVE_EVERY == 0 or training.step == steps):
            training.save()
            pace = (time.perf_counter() - start) / len(seen)
            line = f"step {training.step}/{steps}  {_means(seen[-_SAVE_EVERY:])}  {pace:.2f} s/step"
            print(line, flush=True)


def _means(seen: list[dict[str, float]]) -> str:
    return "  ".join(f"{name} {sum(s[name] for s in seen) / len(seen):.3f}" for name in seen[0])


def _batches(step: int, steps: int, share: Share) -> Iterator[tuple[Tensor, Truth]]:
    """The rest of the small scenes, then the rest of those of the full size."""
    turn = int(steps * _SMALL_SHARE)
    for (side, batch), first, last in ((_SMALL, step, turn), (_FULL, max(step, turn), steps)):
        if first < last:
            mine = batch // share.processes
            data = Scenes(first, last - first, side, mine, share)
            yield from DataLoader(data, mine, collate_fn=_collate, num_workers=1, prefetch_factor=4)


def _collate(scenes: list[Scene]) -> tuple[Tensor, Truth]:
    """Scenes to a picture batch (N, 3, H, W) from 0 to 1, and all their digits."""
    pictures = torch.stack([torch.from_numpy(scene.image.copy()) for scene in scenes])
    counts = [len(scene.labels) for scene in scenes]
    truth = Truth(
        picture=torch.arange(len(scenes)).repeat_interleave(torch.tensor(counts)),
        boxes=torch.cat([torch.from_numpy(scene.boxes) for scene in scenes]),
        labels=torch.cat([torch.from_numpy(scene.labels) for scene in scenes]),
        marks=torch.cat([torch.arange(count) + 1 for count in counts]),
        ink=torch.stack([torch.from_numpy(scene.ink) for scene in scenes]),
    )
    return pictures.permute(0, 3, 1, 2).float() / 255, truth


def _initialised(model: MaskRCNN) -> MaskRCNN:
    """Layers without a batch norm begin at a useful scale, and all predictions near zero."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
            if name.endswith(("rpn_cls", "rpn_reg", "fc_cls", "fc_reg", "conv_logits")):
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return model
