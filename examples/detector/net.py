"""A small detector of one's own: for each cell of 4 x 4 pixels, is a centre here, and how large?"""

import torch
from torch import nn


class Net(nn.Module):
    """Convolutions down to a quarter of the size, and two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        )
        self.heat = nn.Conv2d(32, 2, 1)
        self.size = nn.Conv2d(32, 2, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pictures (N, 3, H, W) to (N, classes, H/4, W/4) and width and height (N, 2, H/4, W/4)."""
        features = self.body(image)
        return {"heat": self.heat(features).sigmoid(), "size": self.size(features).exp()}
