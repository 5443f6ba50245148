"""The bundles that are brought to the device: of each engine, precision and kind of chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.arm64.device import ROOT, desk

PICTURES = sorted((ROOT / "deploy" / "models" / "yolov3" / "demo" / "eval").glob("*.jpg"))
EXTRAS = "ncnn,onnxruntime,openvino"
_HALF = "backend.precision=fp16"


@dataclass(frozen=True)
class Case:
    """A bundle.

    Attributes:
        name: of its folder.
        model: whose demo it is.
        words: what the recipe has beside the model.
        is_tuned: whether it is tuned and measured there, for the sake of the way there.
    """

    name: str
    model: str
    words: tuple[str, ...]
    is_tuned: bool = False

    def make(self, folder: Path) -> Path:
        """Build and verify the bundle on this machine."""
        bundle = folder / self.name
        recipe = (f"+model={self.model}", *self.words, f"bundle={bundle}", "bench.runs=1")
        desk("-m", "deploy", *recipe, cwd=folder)
        return bundle


CASES = (
    Case("yolov3-ncnn-fp32", "yolov3", ("+backend=ncnn",)),
    Case("yolov3-ncnn-fp16", "yolov3", ("+backend=ncnn", _HALF)),
    Case("yolov3-onnxruntime-fp32", "yolov3", ("+backend=onnxruntime",)),
    Case("yolov3-onnxruntime-fp16", "yolov3", ("+backend=onnxruntime", _HALF)),
    Case("yolov3-openvino-fp32", "yolov3", ("+backend=openvino",)),
    Case("yolov3-openvino-fp16", "yolov3", ("+backend=openvino", _HALF)),
    Case("mask_rcnn-ncnn-fp32", "mask_rcnn", ("+backend=ncnn",)),
    Case("mask_rcnn-onnxruntime-fp32", "mask_rcnn", ("+backend=onnxruntime",)),
    Case("yolov3-choice", "yolov3", ("+backend=[onnxruntime,ncnn]",), is_tuned=True),
)
