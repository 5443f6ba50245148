"""What every training of a demo shares: schedule, averaged weights, checkpoint, shipped file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Pace:
    """AdamW's learning rate, steps of warm-up, weight decay, and the longest gradient.

    ``keep`` is the share of the averaged weights that stays at every step.
    """

    rate: float
    warm_up: int
    decay: float
    clip: float
    keep: float

    def at(self, step: int, steps: int) -> float:
        """The rate of a step: linear warm-up, then a cosine down to a hundredth."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, steps - self.warm_up)
        return self.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2)


class Training:
    """A network, its averaged copy and the optimiser, kept in one checkpoint.

    Args:
        model: to be trained.
        pace: how fast.
        run: the folder of the checkpoint; an existing one is taken up.
    """

    def __init__(self, model: nn.Module, pace: Pace, run: Path) -> None:
        self.model, self.pace = model, pace
        self.path = run / "checkpoint.pt"
        self.optimiser = torch.optim.AdamW(model.parameters(), pace.rate, weight_decay=pace.decay)
        self.average = {key: value.clone() for key, value in model.state_dict().items()}
        self.step = 0
        if self.path.exists():
            self._restore()

    def descend(self, loss: Tensor, rate: float) -> None:
        """One step of the optimiser, at this learning rate."""
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if distributed.is_initialized():
            self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.pace.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.step += 1
        self._update_average()

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

    def _share_gradients(self) -> None:
        """Give every process the mean of all their gradients."""
        gradients = []
        for weight in self.model.parameters():
            if weight.grad is None:  # this process had nothing for it to learn from
                weight.grad = torch.zeros_like(weight)
            gradients.append(weight.grad)
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= distributed.get_world_size()
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, together.split(sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def _restore(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]

    def _update_average(self) -> None:
        keep = min(self.pace.keep, (1 + self.step) / (10 + self.step))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)
            else:
                self.average[key].copy_(value)


def ship(run: Path, target: Path, about: Mapping[str, str]) -> None:
    """Write the averaged weights of a run as a package's demo weights.

    Kernels and matrices are stored as float16 to halve the file; all else is not.

    Args:
        run: the folder of the checkpoint.
        target: the file to write; its folder is made where it does not exist.
        about: the model, its classes and the command, for the file's header.
    """
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    tensors = {
        key: (value.half() if value.ndim > 1 else value).contiguous()
        for key, value in state["average"].items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, dict(about))
    target.chmod(0o644)
