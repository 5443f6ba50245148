"""Golden files of the tasks' post-processing, by independent implementations.

Run in an environment with ultralytics, transformers, torch, shapely, pycocotools and
rapidocr-onnxruntime. ultralytics asks for an installed torchvision, and transformers for none that
does not import, so that ``detr`` may need an environment without it:

    python scripts/golden_tasks.py detect detr pose obb text tokens

The inputs are seeded random numbers that look like a head's outputs. Each file
``tests/tasks/<task>/golden/<name>.npz`` holds inputs, outputs, and the package with its version.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1] / "tests" / "tasks"


def save(task: str, name: str, package: str, **arrays: Any) -> None:
    """Write one golden file."""
    folder = TESTS / task / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    source = np.array(f"{package} {version(package)}")
    np.savez_compressed(folder / f"{name}.npz", source=source, **arrays)


def clustered_boxes(rng: np.random.Generator, count: int, side: float) -> np.ndarray:
    """Boxes (count, 4) centre and size around a dozen objects, so that suppression has work."""
    objects = rng.uniform((0.2, 0.2, 0.1, 0.1), (0.8, 0.8, 0.4, 0.4), (12, 4)) * side
    boxes = objects[rng.integers(0, 12, count)]
    return (boxes * rng.normal(1, 0.04, boxes.shape)).astype(np.float32)


def yolo_output(seed: int, classes: int, anchors: int, extra: int = 0) -> np.ndarray:
    """What YOLOv8 gives of two pictures: (2, 4 + classes + extra, anchors)."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(2):
        scores = rng.uniform(0, 1, (anchors, classes)).astype(np.float32) ** 4
        boxes = clustered_boxes(rng, anchors, 320)
        others = rng.uniform(0, 1, (anchors, extra)).astype(np.float32)
        pictures.append(np.concatenate((boxes, scores, others), axis=1).T)
    return np.stack(pictures)


def detect() -> None:
    """Suppression and distributions by Ultralytics."""
    import torch
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.tal import dist2bbox, make_anchors

    output = yolo_output(0, 4, 200)
    variants = {
        "plain": {},
        "agnostic": {"agnostic": True},
        "multi_label": {"multi_label": True, "max_det": 40},
    }
    found = {}
    for name, options in variants.items():
        rows = non_max_suppression(torch.from_numpy(output.copy()), 0.3, 0.5, **options)
        for picture, row in enumerate(rows):
            found[f"{name}_{picture}"] = row.numpy()
    save("detect", "yolo_nms", "ultralytics", output=output, **found)

    rng = np.random.default_rng(1)
    strides, bins = (8, 16, 32), 16
    sizes = ((8, 12), (4, 6), (2, 3))
    maps = [rng.normal(0, 2, (1, 4 * bins + 2, *size)).astype(np.float32) for size in sizes]
    tensors = [torch.from_numpy(item) for item in maps]
    points, scale = make_anchors(tensors, strides, 0.5)
    flat = torch.cat([item.flatten(2) for item in tensors], 2)
    shares = flat[:, : 4 * bins].view(1, 4, bins, -1).softmax(2)
    distances = (shares * torch.arange(bins, dtype=torch.float32)[:, None]).sum(2)
    boxes = dist2bbox(distances, points.T[None], xywh=False, dim=1) * scale.T
    save(
        "detect",
        "yolo_maps",
        "ultralytics",
        **{f"map_{number}": item for number, item in enumerate(maps)},
        boxes=boxes[0].T.numpy(),
        scores=flat[0, 4 * bins :].sigmoid().T.numpy(),
    )


def detr() -> None:
    """The queries of two pictures by the processors of DETR and RT-DETR."""
    import torch
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    rng = np.random.default_rng(2)
    logits = rng.normal(-1, 2, (2, 20, 6)).astype(np.float32)
    boxes = rng.uniform(0.1, 0.6, (2, 20, 4)).astype(np.float32)
    outputs = SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes))
    arrays = {"logits": logits, "boxes": boxes}
    processors = {"softmax": DetrImageProcessorPil(), "sigmoid": RTDetrImageProcessorPil()}
    for name, processor in processors.items():
        found = processor.post_process_object_detection(
            outputs, threshold=0.4, target_sizes=[(240, 320)] * 2
        )
        for number, picture in enumerate(found):
            for key, value in picture.items():
                arrays[f"{name}_{key}_{number}"] = value.numpy()
    save("detect", "detr", "transformers", **arrays)


def tokens() -> None:
    """Greedy and top-k of each position by torch; pieces to text by the decoders of tokenizers."""
    import torch
    from tokenizers import decoders

    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, (2, 9, 200)).astype(np.float32)
    logits[0, 3] = 1.5  # all tokens are as good as each other
    shares, ids = torch.from_numpy(logits).softmax(-1).topk(3, -1)
    pieces = {
        "wordpiece": ["un", "##aff", "##able", "words", "##ed", "now"],
        "sentencepiece": ["\u2581Hello", "\u2581wor", "ld", "\u2581again", "!"],
        "none": ["a", "b", " ", "c"],
    }
    by_library = {
        "wordpiece": decoders.WordPiece(cleanup=False),
        "sentencepiece": decoders.Metaspace(),
        "none": decoders.Fuse(),
    }
    arrays: dict[str, Any] = {}
    for name, decoder in by_library.items():
        arrays[f"{name}_pieces"] = np.array(pieces[name])
        arrays[f"{name}_text"] = np.array(decoder.decode(pieces[name]))
    greedy = torch.from_numpy(logits).argmax(-1)
    save(
        "tokens",
        "decoding",
        "tokenizers",
        logits=logits,
        greedy=greedy.numpy(),
        ids=ids.numpy(),
        shares=shares.numpy(),
        torch=np.array(torch.__version__),
        **arrays,
    )


if __name__ == "__main__":
    for task in sys.argv[1:]:
        globals()[task]()
