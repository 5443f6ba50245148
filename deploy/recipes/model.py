"""The model, and what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploy.recipes.backend import BackendRecipe


@dataclass
class InputRecipe:
    """One input of the model.

    Attributes:
        shape: its full shape, with the batch axis first where there is one: sizes, and names of
            ``model.dynamic`` for sizes that vary.
        dtype: of NumPy.
        range: the smallest and largest value to make samples of, both included; by default
            normally distributed floats, integers from 0 to 99, and booleans.
    """

    shape: list[Any]
    dtype: str = "float32"
    range: list[float] | None = None


@dataclass
class MarkRecipe:
    """A mark put on a module from outside: its path in the model, and which side of it."""

    module: str
    at: str = "output"


@dataclass
class PreRecipe:
    """How a picture becomes the input tensor: ``(pixel - mean) / std``, letterboxed."""

    input: str = "image"
    mean: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    std: list[float] = field(default_factory=lambda: [255.0, 255.0, 255.0])
    order: str = "rgb"
    pad: float = 0.0


@dataclass
class PostRecipe:
    """The host step that takes over when the chain ends at the points ``border``."""

    border: list[str]
    id: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelRecipe:
    """A model: the code that builds it or its file, its weights, inputs, and what surrounds it.

    Attributes:
        target: ``package.module:callable`` that returns a ``torch.nn.Module``.
        file: in the place of a target, an ONNX file. Its inputs need only be given to fix sizes
            that it leaves open.
        reference: of a file, the backend that runs it whole, to compare the chain with.
        params: keyword arguments of the target. A mapping with a ``target`` of its own is what
            that returns for its ``params``.
        weights: a file, an ``https`` address, or nothing where the target loads its own.
        sha256: the weights' SHA-256, whole or its first digits; checked after a download.
        readers: for weights files of a model's own format, suffix to ``package.module:callable``.
        dynamic: the name of a size to ``[min, opt, max]``. Names stand in the shapes of the
            inputs; if ``batch`` stands in none, it is axis 0 of every input.
        marks: marks on modules, by their names, for code that has none of its own.
        rewrites: modules of Python with rewrites for the export.
        samples: a folder of pictures to verify and draw with.
        eval: a COCO annotation file beside its pictures.
    """

    name: str
    target: str | None = None
    file: str | None = None
    reference: BackendRecipe | None = None
    inputs: dict[str, InputRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    readers: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, list[int]] = field(default_factory=dict)
    marks: dict[str, MarkRecipe] = field(default_factory=dict)
    rewrites: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    pre: PreRecipe | None = None
    post: list[PostRecipe] = field(default_factory=list)
    samples: str | None = None
    eval: str | None = None
