"""Models as a user would write them, in a file of their own."""

TWO_PARTS = """\
from torch import nn
from deploy.mark import mark


class Net(nn.Module):
    def __init__(self, wide=8):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, wide, 3), nn.Conv2d(wide, 2, 1)
        for weight in self.parameters():
            nn.init.constant_(weight, 0.01)

    def forward(self, image):
        return self.classify(self.body(image).relu())

    @mark("head", inputs=["features"], outputs=["logits"])
    def classify(self, features):
        return self.head(features).mean((2, 3))
"""
