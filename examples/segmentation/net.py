"""A small segmenter of one's own: a score of each class for each cell of 4 x 4 pixels."""

from torch import nn


class Net(nn.Sequential):
    """Convolutions from pictures (N, 3, H, W) to scores (N, 3, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
            nn.Conv2d(32, 3, 3, padding=1),
        )
