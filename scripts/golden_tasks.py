"""Golden files of the tasks' post-processing, by independent implementations.

Run in an environment with ultralytics, transformers, torch, shapely, pycocotools and
rapidocr-onnxruntime. ultralytics asks for an installed torchvision, and transformers for none that
does not import, so that ``detr`` may need an environment without it:

    python scripts/golden_tasks.py detect detr pose obb segment text

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


def page(size: int, angles: tuple[int, ...]) -> Any:
    """A picture of text: lines of several sizes, and words that are turned by these angles."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (size, size), "white")
    pen, top = ImageDraw.Draw(picture), 12
    for height in (34, 14, 22):
        font = ImageFont.load_default(size=height)
        pen.text((height, top), "Quick brown fox 0123", font=font, fill=(height, 0, 60))
        top += 2 * height
    for number, angle in enumerate(angles):
        word = Image.new("L", (150, 36), 0)
        font = ImageFont.load_default(size=24)
        ImageDraw.Draw(word).text((6, 3), f"Turned {angle}", font=font, fill=255)
        turned = word.rotate(angle, expand=True, resample=Image.Resampling.BICUBIC)
        picture.paste((10, 60, 10), (10 + 160 * number, 170), turned)
    return picture


def text() -> None:
    """Boxes and texts of PP-OCR's models by RapidOCR, components by OpenCV."""
    import rapidocr_onnxruntime

    models = Path(rapidocr_onnxruntime.__file__).parent / "models"
    text_boxes(models / "ch_PP-OCRv4_det_infer.onnx")
    text_lines(models / "ch_PP-OCRv4_rec_infer.onnx")
    components()


def outputs_of(model: Path, pixels: np.ndarray) -> np.ndarray:
    """What a model of PP-OCR gives for RGB pixels (n, h, w, 3) from 0 to 255."""
    import onnxruntime

    values = (pixels[..., ::-1].astype(np.float32) / 255 - 0.5) / 0.5
    session = onnxruntime.InferenceSession(model)
    return session.run(None, {"x": np.ascontiguousarray(values.transpose(0, 3, 1, 2))})[0]


def text_boxes(model: Path) -> None:
    """Maps of two pages in 255 steps, and the boxes of each."""
    from rapidocr_onnxruntime.ch_ppocr_det.utils import DBPostProcess

    pages = np.stack([page(352, (12, -30)), page(352, (-8, 80))])
    maps = np.round(outputs_of(model, pages) * 255).astype(np.uint8)
    arrays = {"maps": maps}
    for name, options in {"plain": {}, "dilated": {"use_dilation": True}}.items():
        step = DBPostProcess(box_thresh=0.5, unclip_ratio=1.6, **options)
        for number, each in enumerate(maps.astype(np.float32) / 255):
            boxes, scores = step(each[None], (352, 352))
            arrays[f"{name}_boxes_{number}"] = np.array(boxes, np.float32)
            arrays[f"{name}_scores_{number}"] = np.array(scores, np.float32)
    save("text", "dbnet", "rapidocr-onnxruntime", **arrays)


def text_lines(model: Path) -> None:
    """The likely outputs of three lines, and the text of each."""
    import onnxruntime
    from PIL import Image, ImageDraw, ImageFont
    from rapidocr_onnxruntime.ch_ppocr_rec.utils import CTCLabelDecode

    metadata = onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map
    names = metadata["character"].split("\n")
    lines = []
    for content in ("Hello 2 worlds", "good food, 1000 %", ""):
        line = Image.new("RGB", (320, 48), "white")
        font = ImageFont.load_default(size=34)
        ImageDraw.Draw(line).text((8, 2), content, font=font, fill=(0, 0, 60))
        lines.append(np.asarray(line))
    outputs = outputs_of(model, np.stack(lines))
    likely = (outputs.max(axis=(0, 1)) > 0.005).nonzero()[0]
    kept = np.unique([0, *likely, outputs.shape[2] - 1])  # with the blank and the space
    scores = outputs[:, :, kept].astype(np.float16)
    characters = [names[index - 1] for index in kept[1:-1]]
    found = CTCLabelDecode(character=list(characters))(scores.astype(np.float32))
    save(
        "text",
        "ctc",
        "rapidocr-onnxruntime",
        outputs=scores,
        characters=np.array(characters),
        texts=np.array([said for said, _ in found]),
        scores=np.array([score for _, score in found], np.float32),
    )


def components() -> None:
    """Components of a random mask, with the area of the smallest rectangle around each."""
    import cv2

    noise = np.random.default_rng(3).normal(size=(90, 120))
    mask = cv2.GaussianBlur(noise, (0, 0), 2.0) > 0.08
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    areas = []
    for label in range(1, count):
        (_, size, _) = cv2.minAreaRect(np.argwhere(labels == label)[:, ::-1].astype(np.float32))
        areas.append(size[0] * size[1])
    arrays = {"labels": labels.astype(np.uint8), "areas": np.array(areas, np.float32)}
    save("text", "components", "opencv-python-headless", **arrays)


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


def scaled_back(values: np.ndarray) -> np.ndarray:
    """Points (..., 2 or 3) of an input of 320 x 320 in a picture of 427 x 240, centred."""
    import torch
    from ultralytics.utils.ops import scale_coords

    return scale_coords((320, 320), torch.from_numpy(values.copy()), (240, 427)).numpy()


def pose() -> None:
    """Suppression and placing of keypoints by Ultralytics, OKS by pycocotools."""
    import torch
    from pycocotools.cocoeval import COCOeval
    from ultralytics.utils.nms import non_max_suppression

    output = yolo_output(3, 2, 120, extra=4 * 3)
    output[:, 6::3] *= 320
    output[:, 7::3] *= 320
    rows = non_max_suppression(torch.from_numpy(output.copy()), 0.3, 0.5, nc=2)
    found = {f"rows_{picture}": row.numpy() for picture, row in enumerate(rows)}
    placed = {
        f"placed_{picture}": scaled_back(row[:, 6:].reshape(-1, 4, 3))
        for picture, row in enumerate(found.values())
    }
    save("pose", "yolo", "ultralytics", output=output, **found, **placed)

    rng = np.random.default_rng(4)
    truths = rng.uniform(0, 60, (4, 17, 3))
    truths[..., 2] = rng.integers(0, 3, (4, 17))
    points = truths[rng.integers(0, 4, 9)] + rng.normal(0, 2, (9, 17, 3))
    areas = rng.uniform(400, 4000, 4)
    evaluation = COCOeval(iouType="keypoints")
    evaluation._gts[1, 1] = [
        {"keypoints": truth.ravel().tolist(), "area": area, "bbox": [0, 0, 60, 60]}
        for truth, area in zip(truths, areas, strict=True)
    ]
    evaluation._dts[1, 1] = [{"keypoints": item.ravel().tolist(), "score": 1} for item in points]
    save(
        "pose",
        "oks",
        "pycocotools",
        truths=truths,
        points=points,
        areas=areas,
        oks=evaluation.computeOks(1, 1).T,
    )


def obb() -> None:
    """Suppression of rotated boxes and their overlap by Ultralytics, areas by Shapely."""
    import torch
    from shapely.geometry import Polygon
    from ultralytics.utils.metrics import batch_probiou
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import xywhr2xyxyxyxy

    output = yolo_output(5, 3, 160, extra=1)
    output[:, -1] = (output[:, -1] - 0.25) * np.float32(np.pi)
    found = {}
    for name, options in {"plain": {}, "agnostic": {"agnostic": True}}.items():
        rows = non_max_suppression(
            torch.from_numpy(output.copy()), 0.3, 0.5, nc=3, rotated=True, **options
        )
        found |= {f"{name}_{picture}": row.numpy() for picture, row in enumerate(rows)}
    save("obb", "yolo", "ultralytics", output=output, **found)

    boxes = np.vstack([output[0, [0, 1, 2, 3, -1]].T, np.zeros((1, 5), np.float32)])[-40:]
    corners = xywhr2xyxyxyxy(boxes.astype(np.float64))
    polygons = [Polygon(points) for points in corners]
    iou = [
        [
            first.intersection(second).area / max(first.union(second).area, 1e-9)
            for second in polygons
        ]
        for first in polygons
    ]
    probiou = batch_probiou(boxes.astype(np.float64), boxes.astype(np.float64)).numpy()
    save("obb", "overlaps", "shapely", boxes=boxes, corners=corners, iou=iou, probiou=probiou)


def segment() -> None:
    """Masks from prototypes by Ultralytics, in the input's size and in that of a picture."""
    import torch
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import process_mask, process_mask_native, scale_boxes

    output = yolo_output(6, 2, 80, extra=4)
    output[:, -4:] = output[:, -4:] * 2 - 1
    rng = np.random.default_rng(7)
    small = torch.from_numpy(rng.normal(0, 1, (2, 4, 7, 7)).astype(np.float32))
    prototypes = torch.nn.functional.interpolate(small, (80, 80), mode="bicubic")
    prototypes = (prototypes * 8).round() / 8  # so that the file is small
    arrays = {"output": output, "prototypes": prototypes.numpy()}
    rows = non_max_suppression(torch.from_numpy(output.copy()), 0.3, 0.5, nc=2)
    for number, (row, maps) in enumerate(zip(rows, prototypes, strict=True)):
        inside = process_mask(maps, row[:, 6:], row[:, :4], (320, 320), upsample=True)
        boxes = scale_boxes((320, 320), row[:, :4].clone(), (240, 427))
        native = process_mask_native(maps, row[:, 6:], boxes, (240, 427))
        arrays[f"rows_{number}"] = row.numpy()
        arrays[f"boxes_{number}"] = boxes.numpy()
        for name, masks in {"inside": inside, "native": native}.items():
            arrays[f"{name}_{number}"] = np.packbits(masks.numpy().astype(np.bool_), axis=-1)
    save("segment", "yolo", "ultralytics", **arrays)


if __name__ == "__main__":
    for task in sys.argv[1:]:
        globals()[task]()
