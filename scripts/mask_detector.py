"""The Mask R-CNN of the demo in plain PyTorch: a picture's path to what is found in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deploy.models.mask_rcnn.build import MaskRCNN
from deploy.models.mask_rcnn.post import paste_masks
from deploy.runtime.results.detections import Detections


def detect(model: MaskRCNN, picture: Path) -> Detections:
    """What a model in evaluation mode finds.

    Args:
        model: is given RGB from 0 to 1.
        picture: its path; its sides are multiples of 32.
    """
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    with torch.inference_mode():
        found = model(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
    labels = found["labels"]
    logits = found["mask_logits"][torch.arange(len(labels)), labels]
    boxes = found["boxes"].numpy()
    masks = paste_masks(logits.sigmoid().numpy(), boxes, *pixels.shape[:2])
    return Detections(boxes, found["scores"].numpy(), labels.numpy(), masks)
