"""What the export hands on; needs neither torch nor onnx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backends.contract import Specs
from deploy.points import MarkedTensor


@dataclass(frozen=True)
class Exported:
    """A whole model as an ONNX file that ONNX Runtime runs as it is.

    Attributes:
        onnx: the file; its weights lie beside it in ``<name>.data``.
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        marks: every tensor marked while tracing, also those that the exporter dropped.
    """

    onnx: Path
    inputs: Specs
    outputs: Specs
    marks: tuple[MarkedTensor, ...]
