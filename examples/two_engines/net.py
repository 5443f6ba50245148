"""A net that looks closer at the cells where its backbone sees most."""

import torch
from torch import nn

from deploy.mark import mark


class Net(nn.Module):
    """A backbone for the picture, and a head for the features of its strongest cells."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        )
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Pictures (1, 3, 64, 64) to scores (1, 3)."""
        rows: torch.Tensor = self.head(strongest(self.backbone(image)))
        return rows.mean(0, keepdim=True)


@mark("strongest", inputs=["features"], outputs=["rows"])
def strongest(features: torch.Tensor) -> torch.Tensor:
    """The features (8, C) of the eight cells of (1, C, H, W) with the largest sum."""
    cells = features.flatten(2)[0].T
    return cells[cells.sum(1).topk(8).indices]
