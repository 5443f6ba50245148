"""Writes post.npz: detections by MMDetection's own ``RetinaHead``, on seeded random maps.

Run in an environment of scripts/setup-mmdetection:  python tests/data/retinanet/make.py
"""

from __future__ import annotations

from pathlib import Path

import mmcv
import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

HEIGHT, WIDTH, CLASSES = 64, 96, 3
STRIDES = (8, 16, 32, 64, 128)
VARIANTS = {"all": {}, "few": {"nms_pre": 20, "max_per_img": 12, "score_thr": 0.3}}


def main() -> None:
    """Run the head of retinanet_r50_fpn_1x_coco.py with three classes."""
    register_all_modules()
    config = Path(mmdet.__file__).parent / ".mim/configs/retinanet/retinanet_r50_fpn_1x_coco.py"
    settings = Config.fromfile(config).model
    head = MODELS.build(
        {**settings.bbox_head, "num_classes": CLASSES, "test_cfg": settings.test_cfg}
    )
    rng = np.random.default_rng(0)
    sizes = [(-(-HEIGHT // stride), -(-WIDTH // stride)) for stride in STRIDES]
    logits = [rng.normal(-2, 1.5, (1, 9 * CLASSES, *size)).astype(np.float32) for size in sizes]
    deltas = [rng.normal(0, 0.4, (1, 36, *size)).astype(np.float32) for size in sizes]
    deltas[0][0, 2, 0, 0] = 6.0  # above the bound of a side's log scale
    maps = {f"map_{number}": item for number, item in enumerate([*logits, *deltas])}
    arrays = {}
    for name, changed in VARIANTS.items():
        found = head.predict_by_feat(
            [torch.from_numpy(item) for item in logits],
            [torch.from_numpy(item) for item in deltas],
            batch_img_metas=[{"img_shape": (HEIGHT, WIDTH)}],
            cfg=Config({**settings.test_cfg, **changed}),
        )[0]
        arrays[f"{name}_boxes"] = found.bboxes.numpy()
        arrays[f"{name}_scores"] = found.scores.numpy()
        arrays[f"{name}_labels"] = found.labels.numpy()
    source = np.array(f"mmdet {mmdet.__version__}, mmcv {mmcv.__version__}")
    np.savez_compressed(Path(__file__).with_name("post.npz"), source=source, **maps, **arrays)


if __name__ == "__main__":
    main()
