"""The recipe: everything a run was asked to do, as plain dataclasses checked once at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.contract import DeployError, Dynamic

_RESERVED = ("decode", "pre", "chain", "post", "total")  # the other rows of a latency table


class RecipeError(DeployError):
    """A recipe that cannot be carried out as it is written."""


@dataclass
class InputRecipe:
    """One input of the model: its full shape with the batch axis first, and its NumPy dtype."""

    shape: list[int]
    dtype: str = "float32"


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
    """A model: the code that builds it, its weights, its inputs, and what surrounds it.

    Attributes:
        target: ``package.module:callable`` that returns a ``torch.nn.Module``.
        params: keyword arguments of the target.
        weights: a file, an ``https`` address, or nothing where the target loads its own.
        sha256: the weights' SHA-256, whole or its first digits; checked after a download.
        readers: for weights files of a model's own format, suffix to ``package.module:callable``.
        dynamic: axis name to ``[min, opt, max]``; ``batch`` is axis 0 of every input.
        samples: a folder of pictures to verify and draw with.
        eval: a COCO annotation file beside its pictures.
    """

    name: str
    target: str
    inputs: dict[str, InputRecipe]
    params: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    readers: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, list[int]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    pre: PreRecipe | None = None
    post: list[PostRecipe] = field(default_factory=list)
    samples: str | None = None
    eval: str | None = None


@dataclass
class BackendRecipe:
    """A backend by its folder's name, with its own options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class SegmentRecipe:
    """A segment between the points ``start`` and ``end``."""

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None


@dataclass
class PartitionRecipe:
    """The cuts; none means the whole model is one segment."""

    segments: list[SegmentRecipe] = field(default_factory=list)


@dataclass
class ConvertRecipe:
    """Limits of a converter's process; ``timeout`` in seconds."""

    timeout: float = 900.0


@dataclass
class VerifyRecipe:
    """What is verified: pictures to compare detections on, and whether to evaluate mAP."""

    images: int = 4
    min_matched: float = 0.98
    eval: bool = False


@dataclass
class BenchRecipe:
    """How many runs the closing latency figures are taken from; 0 leaves them out."""

    runs: int = 20


@dataclass
class Recipe:
    """One deployment: a model, its cuts, a backend for each segment, and where the bundle goes."""

    model: ModelRecipe
    backend: BackendRecipe
    bundle: str | None = None
    partition: PartitionRecipe = field(default_factory=PartitionRecipe)
    chain: dict[str, BackendRecipe] = field(default_factory=dict)
    convert: ConvertRecipe = field(default_factory=ConvertRecipe)
    verify: VerifyRecipe = field(default_factory=VerifyRecipe)
    bench: BenchRecipe = field(default_factory=BenchRecipe)

    def backend_of(self, segment: str) -> BackendRecipe:
        """The backend chosen for this segment, or the one for all."""
        return self.chain.get(segment, self.backend)


def check(recipe: Recipe) -> None:
    """Refuse what no stage could carry out.

    Raises:
        RecipeError: naming the key, what it takes and what it got.
    """
    _check_inputs(recipe.model)
    ranges(recipe.model.dynamic)
    _check_chain(recipe)
    _check_pre(recipe.model)
    _check_numbers(recipe)


def ranges(dynamic: Mapping[str, list[int]]) -> dict[str, Dynamic]:
    """``model.dynamic`` as dimensions.

    Raises:
        RecipeError: a range is not three ascending sizes from 1 up.
    """
    return {name: _range(name, sizes) for name, sizes in dynamic.items()}


def _range(name: str, sizes: list[int]) -> Dynamic:
    if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
        raise RecipeError(
            f"model.dynamic.{name}",
            expected="[min, opt, max] with 1 <= min <= opt <= max",
            got=str(sizes),
        )
    return Dynamic(name, *sizes)


def _check_inputs(model: ModelRecipe) -> None:
    if not model.inputs:
        raise RecipeError(
            "model.inputs",
            expected="at least one input",
            got="none",
            do="Pass model.inputs='{image: {shape: [1, 3, 224, 224], dtype: float32}}'.",
        )
    for name, spec in model.inputs.items():
        if not spec.shape or min(spec.shape) < 1:
            raise RecipeError(
                f"model.inputs.{name}.shape", expected="sizes from 1 up", got=str(spec.shape)
            )


def _check_chain(recipe: Recipe) -> None:
    segments = [cut.name for cut in recipe.partition.segments] or ["model"]
    for name in set(segments) & set(_RESERVED):
        raise RecipeError(f"segment '{name}'", expected="another name", got="a name of the report")
    for name in recipe.chain:
        if name not in segments:
            raise RecipeError(
                f"chain.{name}", expected=f"one of the segments {', '.join(segments)}", got=name
            )


def _check_pre(model: ModelRecipe) -> None:
    if model.pre is None:
        return
    shape = model.inputs[model.pre.input].shape if model.pre.input in model.inputs else []
    if len(shape) != 4 or shape[1] != 3:
        raise RecipeError(
            f"model.pre.input '{model.pre.input}'",
            expected="an input of shape [batch, 3, height, width]",
            got=str(shape or "no input"),
        )


def _check_numbers(recipe: Recipe) -> None:
    numbers = {
        "convert.timeout": (recipe.convert.timeout > 0, recipe.convert.timeout),
        "verify.images": (recipe.verify.images >= 1, recipe.verify.images),
        "verify.min_matched": (0 <= recipe.verify.min_matched <= 1, recipe.verify.min_matched),
        "bench.runs": (recipe.bench.runs >= 0, recipe.bench.runs),
    }
    for key, (good, value) in numbers.items():
        if not good:
            raise RecipeError(key, expected="a number in its range", got=str(value))
