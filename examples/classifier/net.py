"""A small classifier of one's own."""

import torch
from torch import nn


class Net(nn.Module):
    """Convolutions, the mean over the picture, and a score for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, stride=2), nn.ReLU()),
        )
        self.head = nn.Linear(32, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) to scores (N, 3)."""
        scores: torch.Tensor = self.head(self.body(image).mean((2, 3)))
        return scores
