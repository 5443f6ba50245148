"""What is done with a picture beside the network: before it, behind it, and all of it at once.

``scripts/bench picture``. YOLOv3's post-processing at 608 (22,743 anchors of 85 numbers) beside
MMDetection's order in PyTorch (``tests/models/yolov3/plain.py``), decoding beside merely looking
for the anchors that may count, pre-processing beside Pillow's own decoding and resizing, and a
stream of stages that sleep. A round measures each way by itself for a while, one after the other,
on inputs in turns, so that they are not all in the nearest cache; figures are medians of rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path

import cv2
import numba
import numpy as np
import torch
from bench_rounds import ROUNDS, quartiles, spread
from PIL import Image

from backends.contract import Array
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import (
    SLACK,
    CompiledMapDecoder,
    NumpyMapDecoder,
    Thresholds,
    decode_candidates,
    logit,
    make_anchor_grid,
)
from deploy.runtime.execution.streaming import stream
from deploy.runtime.vision.compiling import without_compiling
from deploy.runtime.vision.image import Pre
from deploy.runtime.vision.preprocess import Preprocessor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.models.plain import loop_nms
from tests.models.yolov3.plain import Nms, crowded_maps, plain_detections

SECONDS, SETS = 0.15, 8  # of a way in a round; maps that are looked at in turns
BACKBONE, CLASSES, SIDE = "darknet53", 80, 608
HALF = np.array(ANCHORS[BACKBONE], np.float32) / 2
LIMITS = Thresholds()
CANDIDATES = (0, 100, 1000)
PHOTOS = (((640, 480), 320), ((640, 480), 608), ((1920, 1080), 416), ((4000, 3000), 608))
SCENES = Path(__file__).resolve().parent.parent / "deploy" / "models" / "yolov3" / "demo" / "eval"
LARGE_PHOTOS = (((1280, 720), 320), ((1920, 1080), 416), ((4000, 3000), 608))

Way = Callable[[], object]


def main() -> None:
    """Measure and print the tables."""
    print("\n".join(_posts()), end="\n\n", flush=True)
    print("\n".join(_decoding()), end="\n\n", flush=True)
    print("\n".join(_pre()), end="\n\n", flush=True)
    print("\n".join(_scaled_decoding()), end="\n\n", flush=True)
    print("\n".join(_scores_of_enlarged()), end="\n\n", flush=True)
    print("\n".join(_streams()))


def compared(ways: Sequence[Way]) -> Array:
    """Seconds (rounds, ways) of a call of each; the order turns from round to round."""
    for way in ways:
        way()
    rows = []
    for turn in range(ROUNDS):
        order = np.roll(np.arange(len(ways)), turn)
        row = np.empty(len(ways))
        for at in order:
            row[at] = _median(ways[at])
        rows.append(row)
    return np.array(rows)


def _median(way: Way) -> float:
    calls, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        kept = way()
        calls.append(time.perf_counter() - start)
        del kept
    return float(np.median(calls))


def in_turns(function: Callable[[list[Array]], object], inputs: Sequence[list[Array]]) -> Way:
    """A call on the next of the inputs."""
    turns = cycle(inputs)
    return lambda: function(next(turns))


def _posts() -> Iterator[str]:
    yield (
        "| candidates | plain suppression | torch's threads | plain, ms | NumPy, ms "
        "| compiled, ms | NumPy is faster by | compiled is faster by |"
    )
    yield "|" + "---|" * 8
    for candidates in CANDIDATES:
        sets = _maps(candidates)
        bare = [[raw[0] for raw in maps] for maps in sets]
        ours = [in_turns(way, bare) for way in (_in_numpy(), CompiledMapDecoder(HALF, LIMITS))]
        for name, nms in PLAIN.items():
            for threads in (2, 1):
                torch.set_num_threads(threads)
                plain = in_turns(
                    lambda maps, nms=nms: plain_detections(maps, BACKBONE, CLASSES, LIMITS, nms),
                    sets,
                )
                found = compared([plain, *ours])
                cells = [spread(quartiles(found[:, way]), 1e3, 3) for way in range(3)]
                ratios = [spread(quartiles(found[:, 0] / found[:, way]), 1, 1) for way in (1, 2)]
                yield (
                    f"| {candidates:,} | {name} | {threads} | "
                    + " | ".join([*cells, *ratios])
                    + " |"
                )


def _in_numpy() -> Callable[[list[Array]], object]:
    """All of the step in NumPy, its suppression too."""
    decoder = NumpyMapDecoder(HALF, LIMITS)

    def way(maps: list[Array]) -> object:
        with without_compiling():
            return decoder(maps)

    return way


def _keep_all(boxes: torch.Tensor, scores: torch.Tensor, iou_thr: float) -> torch.Tensor:
    """No suppression: the plain way can only take longer than this."""
    return torch.arange(len(boxes))


def _in_opencv(boxes: torch.Tensor, scores: torch.Tensor, iou_thr: float) -> torch.Tensor:
    """Suppression in C++, by an operator that is installed."""
    corners = boxes.numpy()
    sized = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    return torch.from_numpy(np.array(cv2.dnn.NMSBoxes(sized, scores.numpy(), 0.0, iou_thr)))


PLAIN: dict[str, Nms] = {
    "in PyTorch": loop_nms,
    "in C++, OpenCV's": _in_opencv,
    "left out": _keep_all,
}


def _maps(candidates: int) -> list[list[Array]]:
    first = crowded_maps(candidates, SIDE, CLASSES)
    return [[raw.copy() for raw in first] for _ in range(SETS)]


def _decoding() -> Iterator[str]:
    yield (
        "| candidates | the greatest objectness, us | anchors that may count, us "
        "| reading their classes, us | decoding in NumPy, us | the whole step compiled, us "
        "| NumPy's over the second |"
    )
    yield "|" + "---|" * 7
    grid = make_anchor_grid([(SIDE // stride,) * 2 for stride in (32, 16, 8)], HALF)
    least = logit(LIMITS.conf_thr) - SLACK
    compiled = CompiledMapDecoder(HALF, LIMITS)
    for candidates in CANDIDATES:
        sets = _maps(candidates)
        rows = [[raw.reshape(3, 5 + CLASSES, -1) for raw in maps] for maps in sets]
        found = compared(
            [
                in_turns(lambda maps: [raw[:, 4].max() for raw in maps], rows),
                in_turns(lambda maps: [(raw[:, 4] >= least).nonzero() for raw in maps], rows),
                _reading_classes(rows, least),
                in_turns(
                    lambda maps: decode_candidates(maps, grid, LIMITS.conf_thr, LIMITS.score_thr),
                    rows,
                ),
                in_turns(compiled, [[raw[0] for raw in maps] for maps in sets]),
            ]
        )
        cells = [spread(quartiles(found[:, way]), 1e6, 0) for way in range(5)]
        over = spread(quartiles(found[:, 3] / found[:, 1]), 1, 2)
        yield f"| {candidates:,} | " + " | ".join([*cells, over]) + " |"


def _reading_classes(sets: Sequence[list[Array]], least: float) -> Way:
    """Add up the class logits of the anchors that may count: no way can do without reading them."""
    likely = [(raw[:, 4] >= least).nonzero() for raw in sets[0]]  # all sets are copies of one
    return in_turns(
        lambda maps: [_sum_of(raw, *at) for raw, at in zip(maps, likely, strict=True)], sets
    )


@numba.njit(error_model="numpy")
def _sum_of(raw: Array, anchors: Array, cells: Array) -> np.float32:
    total = np.float32(0)
    for index in range(len(anchors)):
        for label in range(5, raw.shape[1]):
            total += raw[anchors[index], label, cells[index]]
    return total


def _pre() -> Iterator[str]:
    yield "| picture | into | ours, ms | Pillow, ms | ratio |"
    yield "|" + "---|" * 5
    with tempfile.TemporaryDirectory() as folder:
        for size, side in PHOTOS:
            for kind in ("jpg", "png"):
                path = Path(folder) / f"photo.{kind}"
                _photo(*size).save(path)
                box = Preprocessor(Pre("image", side, side, (123, 116, 103), (58, 57, 57)))
                fitted = _fitted(box, path)
                found = compared([partial(_ours, box, path), partial(_pillow, path, fitted)])
                cells = [spread(quartiles(found[:, way]), 1e3, 2) for way in range(2)]
                ratio = spread(quartiles(found[:, 0] / found[:, 1]), 1, 3)
                yield (
                    f"| {size[0]} x {size[1]} {kind} | {side} | "
                    + " | ".join([*cells, ratio])
                    + " |"
                )


def _scaled_decoding() -> Iterator[str]:
    """A picture that is decoded at a part of its size, beside all of its pixels."""
    yield (
        "| picture | into | every pixel, ms | scaled decoding, ms | Pillow alone at 1/8, ms "
        "| faster by | largest difference of 255 | mean |"
    )
    yield "|" + "---|" * 8
    with tempfile.TemporaryDirectory() as folder:
        for size, side in LARGE_PHOTOS:
            for kind in ("jpg", "png"):
                path = Path(folder) / f"photo.{kind}"
                _photo(*size).save(path)
                pre = Pre("image", side, side, (0,) * 3, (1,) * 3)
                boxes = [Preprocessor(replace(pre, scaled_decoding=way)) for way in (False, True)]
                ways = [*(partial(_ours, box, path) for box in boxes), partial(_smallest, path)]
                found = compared(ways)
                whole, scaled = (box(box.decode(path))[0] for box in boxes)
                apart = np.abs(whole - scaled)
                cells = [spread(quartiles(found[:, way]), 1e3, 2) for way in range(3)]
                ratio = spread(quartiles(found[:, 0] / found[:, 1]), 1, 2)
                figures = [*cells, ratio, f"{apart.max():.0f}", f"{apart.mean():.2f}"]
                yield f"| {size[0]} x {size[1]} {kind} | {side} | " + " | ".join(figures) + " |"


def _smallest(path: Path) -> object:
    """What decoding takes at the least: a JPEG at 1/8, where only its entropy coding is left."""
    with Image.open(path) as image:
        image.draft(None, (image.width // 8, image.height // 8))
        image.load()
        return image


def _scores_of_enlarged() -> Iterator[str]:
    """The demo on its evaluation scenes, enlarged and stored as JPEG, decoded both ways."""
    yield "| evaluation scenes enlarged by | mAP, every pixel | mAP, scaled decoding | difference |"
    yield "|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        bundles = [Path(folder) / name for name in ("whole", "scaled")]
        for bundle, way in zip(bundles, ("false", "true"), strict=True):
            words = f"+model=yolov3 +backend=onnxruntime model.pre.scaled_decoding={way}"
            _run("deploy", *words.split(), f"bundle={bundle}", "bench.runs=0")
        for factor in (5, 9, 12):
            scenes = _enlarged(factor, Path(folder) / str(factor))
            whole, scaled = (_score(bundle, scenes) for bundle in bundles)
            yield f"| {factor} | {whole:.4f} | {scaled:.4f} | {abs(whole - scaled):.4f} |"


def _enlarged(factor: int, folder: Path) -> Path:
    """The demo's data set with every picture and box enlarged."""
    folder.mkdir()
    rows = json.loads((SCENES / "annotations.json").read_text())
    for image in rows["images"]:
        with Image.open(SCENES / image["file_name"]) as scene:
            image |= {side: image[side] * factor for side in ("width", "height")}
            large = scene.resize((image["width"], image["height"]), Image.Resampling.LANCZOS)
            large.save(folder / image["file_name"], quality=90)
    for annotation in rows["annotations"]:
        annotation["bbox"] = [side * factor for side in annotation["bbox"]]
        annotation["area"] *= factor**2
    annotations = folder / "annotations.json"
    annotations.write_text(json.dumps(rows))
    return annotations


def _score(bundle: Path, annotations: Path) -> float:
    report = json.loads(_run("deploy.runtime", "eval", str(bundle), str(annotations), "--json=-"))
    return float(report["scores"]["map"])


def _run(*words: str) -> str:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _photo(width: int, height: int) -> Image.Image:
    rs = np.random.RandomState(0)
    coarse = rs.randint(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _fitted(box: Preprocessor, path: Path) -> tuple[int, int]:
    _, placement = box(box.decode(path))
    return round(placement.width * placement.scale_x), round(placement.height * placement.scale_y)


def _ours(box: Preprocessor, path: Path) -> object:
    return box(box.decode(path))


def _pillow(path: Path, size: tuple[int, int]) -> object:
    with Image.open(path) as image:
        return image.resize(size, Image.Resampling.BILINEAR)


def _streams() -> Iterator[str]:
    yield "| stages that sleep, ms | items a second | of 1 / the longest |"
    yield "|---|---|---|"
    for sleeps in ((10, 10, 10), (2, 20, 5), (1, 1, 8, 1)):
        rates = [_rate(sleeps) for _ in range(5)]
        shares = quartiles(np.array(rates) * max(sleeps) / 1e3)
        names = ", ".join(map(str, sleeps))
        yield f"| {names} | {spread(quartiles(np.array(rates)), 1, 1)} | {spread(shares, 1, 3)} |"


def _rate(sleeps: Sequence[int], items: int = 200) -> float:
    """Items a second from the first to the last that comes out."""

    def stage(milliseconds: int) -> Callable[[int], int]:
        def work(item: int) -> int:
            time.sleep(milliseconds / 1e3)
            return item

        return work

    out = stream([stage(each) for each in sleeps], range(items), len(sleeps) + 1)
    next(out)
    start = time.perf_counter()
    rest = sum(1 for _ in out)
    return rest / (time.perf_counter() - start)
