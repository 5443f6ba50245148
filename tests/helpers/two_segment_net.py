"""A small model in two segments, body and head, and the command that deploys it."""

from __future__ import annotations

from pathlib import Path

MODEL = """
from torch import nn
from deploy.mark import mark


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, image):
        return self.classify(self.body(image).relu())

    @mark("head", inputs=["features"], outputs=["logits"])
    def classify(self, features):
        return self.head(features).mean((2, 3))
"""
CUTS = (
    "[{name: body, start: [image], end: [head:input]}, "
    "{name: head, start: [head:input], end: [head:output]}]"
)
DEPLOY = [
    "deploy", "+model=module", "model.target=my_net:Net", "bench.runs=1",
    "model.inputs={image: {shape: [1, 3, 16, 16]}}", f"partition.segments={CUTS}",
]  # fmt: skip


def write_net(folder: Path) -> None:
    """Write the model's module into the folder in which the command is to run."""
    (folder / "my_net.py").write_text(MODEL)
