"""Writes checkpoint.pth as MMDetection does: weights under state_dict, and other things beside it.

Its weights are those of the digit detector, whose parameters have MMDetection's names.
"""

import torch
from safetensors.torch import load_file

from deploy.cli.demo_files import demo_file
from deploy.models.yolov3.build import YOLOv3


def main() -> None:
    """Write the file."""
    net = YOLOv3("darknet53", num_classes=10, width=0.25)
    net.load_state_dict(load_file(demo_file("yolov3/demo/weights.safetensors")), strict=False)
    checkpoint = {
        "meta": {"dataset_meta": {"classes": tuple("0123456789")}, "epoch": 273, "iter": 5500},
        "state_dict": net.state_dict(),
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(checkpoint, "checkpoint.pth")
    print("wrote checkpoint.pth with", ", ".join(checkpoint))


if __name__ == "__main__":
    main()
