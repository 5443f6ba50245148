"""An exported model: a whole ONNX file to cut; needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract import Array, Specs
from deploy.graph.points import MarkedTensor


@dataclass(frozen=True)
class Exported:
    """A whole model as an ONNX file that runs as it is, marks included.

    Attributes:
        onnx: the file; its weights may lie beside it.
        inputs: the graph's inputs as they will be used: a size that the file leaves open is fixed
            or has its range here.
        outputs: the graph's outputs, where they are known.
        marks: every tensor marked while tracing, also those that the exporter dropped.
        constants: inputs of the file that are the same in every run, with their values; they are
            not among ``inputs``.
        observed: the specs of tensors whose shape in a run contradicts what the file, or the
            inference of shapes, says of them.
        by_name: whether every tensor of the graph is a cut point by its name. Of a model that
            PyTorch exports only the marks are: PyTorch's own value is known only there.
    """

    onnx: Path
    inputs: Specs
    outputs: Specs = ()
    marks: tuple[MarkedTensor, ...] = ()
    by_name: bool = False
    constants: Mapping[str, Array] = field(default_factory=dict)
    observed: Specs = ()
