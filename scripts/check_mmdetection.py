"""Deploy MMDetection's own model objects, and compare each chain with MMDetection.

    scripts/setup-mmdetection FOLDER  # an environment with MMDetection: up to an hour
    scripts/check-mmdetection FOLDER [--only NAME...] [--out OUT] [--pictures COUNT]

The models are built from MMDetection's configurations and marked by the paths of their modules. The
main job deploys each to the engines of each chain, as a user types it. Then, for each picture:

- head outputs: of the chain, and of MMDetection's ``forward`` on what its own pipeline makes of the
  picture, so that pre-processing is compared too;
- detections: what ``python -m deploy.runtime run --json`` writes, and what MMDetection's
  ``inference_detector`` finds. They are paired by label and IoU (0.9), from both sides.

``yolov3_digits`` has the trained weights of this project's demo. The others have seeded random
weights, whose last layers are scaled so that hundreds of candidates pass the thresholds.

It writes results.md and results.json into OUT. The exit code is 1 if a chain is refused or less
than 98 % of the detections match.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectors import CONFIGS
from mmdet.apis import inference_detector, init_detector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from deploy.runtime import Detections, Pipeline
from deploy.runtime.execution.own_posts import register_target
from deploy.runtime.results.matching import match_detections

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mmdetection"
DEMO = ROOT / "deploy" / "models" / "yolov3" / "demo"

SIDE = 320
LEAST = 0.98  # the share of detections that must match
MARKS = "model.marks={backbone: {module: backbone}, neck: {module: neck}}"
CUTS = "partition.cuts=[backbone, neck]"
PARTS = ("part0", "part1", "part2")  # the segments that these cuts give
FIXED = f"model.inputs={{inputs: {{shape: [1, 3, {SIDE}, {SIDE}]}}}}"
DYNAMIC = (
    "model.inputs={inputs: {shape: [1, 3, height, width]}}",
    f"model.dynamic={{height: [64, {SIDE}, {SIDE}], width: [64, {SIDE}, {SIDE}]}}",
    "model.pre.multiple=32",
)
YOLO_POST = "model.post={{id: yolov3.maps, params: {{backbone: darknet53, num_classes: {}}}}}"
OWN_POST = "retinanet_post:decode"
RETINANET_POST = f"model.post={{target: {OWN_POST}}}"
IMAGENET = ("model.pre.mean=[123.675, 116.28, 103.53]", "model.pre.std=[58.395, 57.12, 57.375]")

ORT, OPENVINO, NCNN = "onnxruntime", "openvino", "ncnn"


@dataclass(frozen=True)
class Case:
    """A model of MMDetection and how it is deployed.

    Attributes:
        config: a file, or its path in MMDetection's configurations.
        words: of the main job.
        chains: the engines of backbone, neck and head.
        trained: a file of weights; without one they are random.
        shapes: heights and widths of the pictures.
    """

    config: str
    words: tuple[str, ...]
    chains: tuple[tuple[str, str, str], ...]
    trained: Path | None = None
    shapes: tuple[tuple[int, int], ...] = ((SIDE, SIDE),)


SINGLE = ((ORT,) * 3, (OPENVINO,) * 3, (NCNN,) * 3)
DIGITS = str(EXAMPLE / "yolov3_digits.py")
WEIGHTS = DEMO / "weights.safetensors"
CASES: Mapping[str, Case] = {
    "yolov3_digits": Case(
        DIGITS,
        (FIXED, YOLO_POST.format(10)),
        (*SINGLE, (NCNN, OPENVINO, ORT), (OPENVINO, NCNN, NCNN)),
        WEIGHTS,
    ),
    "yolov3_digits_dynamic": Case(
        DIGITS,
        (*DYNAMIC, YOLO_POST.format(10)),
        ((ORT,) * 3, (OPENVINO,) * 3, (ORT, OPENVINO, OPENVINO)),
        WEIGHTS,
        ((SIDE, SIDE), (200, SIDE), (SIDE, 216)),
    ),
    "yolov3_d53": Case(
        "yolo/yolov3_d53_8xb8-320-273e_coco.py",
        (FIXED, YOLO_POST.format(80)),
        ((ORT,) * 3, (NCNN, NCNN, OPENVINO)),
    ),
    "retinanet_r18_fpn": Case(
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        (FIXED, *IMAGENET, RETINANET_POST),
        (*SINGLE, (NCNN, ORT, OPENVINO), (OPENVINO, ORT, NCNN)),
    ),
    "retinanet_r18_fpn_dynamic": Case(
        "retinanet/retinanet_r18_fpn_1x_coco.py",
        (*DYNAMIC, *IMAGENET, RETINANET_POST),
        ((ORT,) * 3, (ORT, OPENVINO, OPENVINO)),
        shapes=((SIDE, SIDE), (200, SIDE), (SIDE, 216)),
    ),
    "retinanet_r50_fpn": Case(
        "retinanet/retinanet_r50_fpn_1x_coco.py",
        (FIXED, *IMAGENET, RETINANET_POST),
        ((ORT,) * 3, (NCNN, NCNN, OPENVINO)),
    ),
}


@dataclass
class Row:
    """What was measured of one chain; ``Row.matched`` counts from both sides."""

    model: str
    engines: tuple[str, str, str]
    exit_code: int
    inputs: float = 0.0
    head: float = 0.0
    largest: float = 0.0
    matched: int = 0
    total: int = 0
    confident: int = 0
    confident_total: int = 0
    box: float = 0.0
    score: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it was deployed, and finds what MMDetection does."""
        return self.exit_code == 0 and self.matched >= LEAST * max(self.total, 1)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        engines = self.engines[0] if len(set(self.engines)) == 1 else " / ".join(self.engines)
        if self.exit_code:
            return (self.model, engines, "refused", self.said[-1] if self.said else "", "", "", "")
        return (
            self.model,
            engines,
            f"{self.head:.1e} of {self.largest:.1f}",
            f"{self.matched} of {self.total}",
            f"{self.confident} of {self.confident_total}",
            f"{self.box:.4f}",
            f"{self.score:.1e}",
        )


HEAD = (
    "| model | backbone / neck / head | head outputs, max abs error | detections matched "
    "| of them from 0.3 up | box, px | score |\n" + "|---" * 7 + "|"
)


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("mmdetection"))
    parser.add_argument("--pictures", type=int, default=8)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    register_target(OWN_POST)
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    rows: list[Row] = []
    for name in options.only:
        for row in check(name, CASES[name], options.out.resolve(), options.pictures):
            rows.append(row)
            print(table([row]), flush=True)
            (options.out / "results.md").write_text(f"{HEAD}\n{table(rows)}\n")
            written = json.dumps([asdict(row) for row in rows], indent=1)
            (options.out / "results.json").write_text(written)
    return 0 if all(row.passed for row in rows) else 1


def table(rows: Sequence[Row]) -> str:
    """The rows of a table in Markdown, without its head."""
    return "\n".join("| " + " | ".join(row.cells()) + " |" for row in rows)


def check(name: str, case: Case, out: Path, count: int) -> Iterator[Row]:
    """Deploy a model to each of its chains, and compare."""
    pictures = write_pictures(case.shapes, out / f"{name}_pictures", count)
    checkpoint = out / f"{name}.pth"
    model = make_model(case, checkpoint, pictures)
    expected = {picture: mmdetection(model, picture) for picture in pictures}
    for number, engines in enumerate(case.chains):
        bundle = out / f"{name}_{number}"
        job = deploy(case, checkpoint, engines, bundle, pictures[0].parent)
        row = Row(name, engines, job.returncode, said=job.stdout.splitlines()[-12:])
        if not row.exit_code:
            compare(row, bundle, expected)
        yield row


def write_pictures(shapes: Sequence[tuple[int, int]], folder: Path, count: int) -> list[Path]:
    """Held-out scenes of the demo, cut to these heights and widths, in turn."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, scene in enumerate(sorted((DEMO / "eval").glob("*.jpg"))[:count]):
        height, width = shapes[number % len(shapes)]
        paths.append(folder / f"{scene.stem}.png")
        Image.open(scene).crop((0, 0, width, height)).save(paths[-1])
    return paths


def make_model(case: Case, checkpoint: Path, pictures: Sequence[Path]) -> nn.Module:
    """MMDetection's detector, with a checkpoint of its weights as MMDetection writes them."""
    config = case.config if Path(case.config).is_file() else str(CONFIGS / case.config)
    resize = {"test_dataloader.dataset.pipeline.1.scale": (SIDE, SIDE)}
    options = {"model.backbone.init_cfg": None, **resize}
    torch.manual_seed(0)
    model = init_detector(config, None, "none", "cpu", options)
    if case.trained is None:
        make_lively(model, [mmdetection_input(model, path)[0] for path in pictures])
        state = model.state_dict()
    else:
        state = load_file(case.trained)
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, checkpoint)
    return init_detector(config, str(checkpoint), "none", "cpu", options)


@torch.no_grad()
def make_lively(model: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Random weights whose features have unit variance, and whose scores reach the thresholds."""
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
            module.train()
    for item in inputs:
        model(item)
    model.eval()
    head = model.bbox_head
    if hasattr(head, "convs_pred"):
        for layer in head.convs_pred:
            spread(model, layer, inputs, 1.5)
            layer.bias.view(3, -1)[:, 4:] = -4.0
        return
    spread(model, head.retina_cls, inputs, 1.5)
    head.retina_cls.bias.fill_(-6.0)
    spread(model, head.retina_reg, inputs, 0.3)


def spread(model: nn.Module, layer: nn.Conv2d, inputs: Sequence[Tensor], wanted: float) -> None:
    """Scale a last layer so that its outputs have this standard deviation around 0."""
    seen: list[Tensor] = []
    layer.bias.zero_()
    handle = layer.register_forward_hook(lambda _, __, output: seen.append(output.flatten()))
    for item in inputs:
        model(item)
    handle.remove()
    layer.weight.mul_(wanted / torch.cat(seen).std())


def mmdetection_input(model: nn.Module, picture: Path) -> tuple[Tensor, Any]:
    """What MMDetection's test pipeline makes of a picture."""
    pipeline = Compose(get_test_pipeline_cfg(model.cfg.copy()))
    data = pipeline({"img_path": str(picture), "img_id": 0})
    batch = {"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]}
    batch = model.data_preprocessor(batch, False)
    return batch["inputs"], batch["data_samples"]


@dataclass(frozen=True)
class Expected:
    """What MMDetection makes of a picture."""

    inputs: np.ndarray
    head: list[np.ndarray]
    detections: Detections


@torch.no_grad()
def mmdetection(model: nn.Module, picture: Path) -> Expected:
    """Head outputs by ``forward``, detections by ``inference_detector``."""
    inputs, samples = mmdetection_input(model, picture)
    head = [part.numpy() for parts in model(inputs, samples) for part in parts]
    found = inference_detector(model, str(picture)).pred_instances
    detections = Detections(found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy())
    return Expected(inputs.numpy(), head, detections)


def deploy(
    case: Case, checkpoint: Path, engines: Sequence[str], bundle: Path, pictures: Path
) -> subprocess.CompletedProcess[str]:
    """The main job, as a user types it."""
    words = [
        "+model=module",
        "model.target=detectors:from_config",
        f"model.params={{config: {case.config}}}",
        f"model.weights={checkpoint}",
        "+pre=coco",
        *case.words,
        MARKS,
        CUTS,
        f"model.samples={pictures}",
        f"+backend={engines[0]}",
        *(
            f"+backend@chain.{part}={engine}"
            for part, engine in zip(PARTS, engines, strict=True)
            if engine != engines[0]
        ),
        "bench.runs=0",
        f"bundle={bundle}",
    ]
    return command(["deploy", *words])


def command(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command of this project, with the example's folder as the current one."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *words],
        cwd=EXAMPLE,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def compare(row: Row, bundle: Path, expected: Mapping[Path, Expected]) -> None:
    """Fill a row with what was found on all pictures."""
    written = bundle.with_suffix(".json")
    post = ["--post", OWN_POST] if "retinanet" in row.model else []
    pictures = [str(path) for path in expected]
    run = command(["deploy.runtime", "run", str(bundle), *pictures, "--json", str(written), *post])
    if run.returncode:
        row.exit_code, row.said = run.returncode, run.stdout.splitlines()
        return
    entries = json.loads(written.read_text())
    with Pipeline.open(bundle) as pipeline:
        for (picture, wanted), found in zip(expected.items(), entries, strict=True):
            inputs, _ = pipeline.prepare(picture)
            (tensor,) = inputs.values()
            row.inputs = max(row.inputs, float(np.abs(tensor - wanted.inputs).max()))
            outputs = pipeline.chain(inputs)
            for actual, head in zip(outputs.values(), wanted.head, strict=True):
                row.head = max(row.head, float(np.abs(actual - head).max()))
                row.largest = max(row.largest, float(np.abs(head).max()))
            add_matches(row, wanted.detections, Detections.from_json(found["detections"]))


def add_matches(row: Row, wanted: Detections, found: Detections) -> None:
    """Count the pairs of one picture, from both sides."""
    for one, other in ((wanted, found), (found, wanted)):
        match = match_detections(one, other)
        confident = match_detections(one.above(0.3), other)
        row.matched += match.matched
        row.total += match.matched + match.missing
        row.confident += confident.matched
        row.confident_total += confident.matched + confident.missing
        row.box, row.score = max(row.box, match.box), max(row.score, match.score)


if __name__ == "__main__":
    sys.exit(main())
