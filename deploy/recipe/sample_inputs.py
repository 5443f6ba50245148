"""The sample inputs of a run: a picture where the model takes one, seeded noise elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backends.contract import Array, Tensors, TensorSpec
from deploy.recipe.dynamic_shapes import typical_shape, varying_inputs
from deploy.recipe.preprocessing import picture_input, preprocessing
from deploy.recipe.schema import ModelRecipe, PreRecipe, RecipeError
from deploy.recipe.state import state_pairs
from deploy.recipe.stored_samples import stored_samples
from deploy.runtime.vision.input_values import input_values
from deploy.runtime.vision.placement import Placement
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.preprocess import Preprocessor

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def sample_pictures(model: ModelRecipe, count: int) -> list[Path]:
    """The first pictures of ``model.samples`` by name; none where the model takes no picture.

    Raises:
        RecipeError: the folder has no picture, and no other sample.
    """
    if model.pre is None or model.samples is None:
        return []
    folder = Path(model.samples)
    files = sorted(folder.glob("*")) if folder.is_dir() else [folder]
    pictures = [path for path in files if path.suffix.lower() in _SUFFIXES]
    if not pictures and not any(path.suffix == ".npz" for path in files):
        raise RecipeError(
            f"model.samples '{folder}'",
            expected=f"pictures ({', '.join(_SUFFIXES)}) or .npz files",
            got="none",
        )
    return pictures[:count]


def sample_inputs(model: ModelRecipe, pictures: Sequence[Path], seed: int = 0) -> dict[str, Array]:
    """A value of every model input: the first picture as ``pre`` has it, and seeded noise.

    Dynamic sizes are at their ``opt``. A batch repeats the picture.
    """
    generator = np.random.default_rng(seed)
    inputs = {
        name: _noise(generator, typical_shape(model, name), np.dtype(spec.dtype), spec.range)
        for name, spec in model.inputs.items()
        if spec.value is None
    }
    if model.pre is not None:
        inputs |= _of_picture(model, preprocessing(model, model.pre), pictures)
    return inputs


def _of_picture(model: ModelRecipe, pre: Pre, pictures: Sequence[Path]) -> dict[str, Array]:
    """The first picture, and the values beside it, at the typical sizes of the inputs.

    Without a picture, the values of one that fills the tensor.
    """
    batch, *sides = typical_shape(model, pre.input)
    height, width = sides[:2] if pre.layout == "nhwc" else sides[1:]
    typical = replace(pre, height=height, width=width, multiple=0)
    found: dict[str, Array] = {}
    placement = Placement(1.0, 1.0, height, width)
    if pictures:
        dtype = model.inputs[pre.input].dtype
        preprocessor = Preprocessor(typical, dtype)
        tensor, placement = preprocessor(preprocessor.decode(pictures[0]))
        found[pre.input] = np.repeat(tensor.astype(dtype), batch, axis=0)
    for name, values in pre.values.items():
        spec = TensorSpec(name, model.inputs[name].dtype, typical_shape(model, name))
        found[name] = input_values(spec, values, [placement], batch)
    return found


def real_samples(model: ModelRecipe, pictures: Sequence[Path]) -> list[dict[str, Array]]:
    """The inputs of each ``.npz`` file; a file without the picture's input takes a picture.

    Raises:
        RecipeError: see ``stored_samples``; or neither files nor pictures are there.
    """
    names = _picture_names(model, model.pre) if model.pre and pictures else ()
    is_picture = model.samples is not None and Path(model.samples) in pictures
    stored = [] if is_picture else stored_samples(model, [*names, *state_pairs(model)])
    if model.samples is not None and model.pre is None and not stored:
        raise RecipeError(
            f"model.samples '{model.samples}'",
            expected="a folder with .npz files, or one .npz file",
            got="none",
            do="Write them with numpy.savez(FILE, input_name=array, ...).",
        )
    return [
        {**_picture_inputs(model, pictures[number % len(pictures)], names), **sample}
        if names and not sample.keys() >= set(names)
        else sample
        for number, sample in enumerate(stored)
    ]


def typical_sample(model: ModelRecipe, samples: Sequence[Tensors]) -> Tensors:
    """A sample whose dynamic sizes are at their ``opt``, which an export needs; else noise."""
    shapes = {name: typical_shape(model, name) for name in varying_inputs(model)}
    fitting = (
        sample
        for sample in samples
        if all(sample[name].shape == shape for name, shape in shapes.items())
    )
    return next(fitting, None) or sample_inputs(model, [])


def _picture_names(model: ModelRecipe, pre: PreRecipe) -> tuple[str, ...]:
    """The inputs whose values come from a picture."""
    return picture_input(model, pre).spec.name, *pre.values


def _picture_inputs(model: ModelRecipe, picture: Path, names: Sequence[str]) -> dict[str, Array]:
    inputs = sample_inputs(model, [picture])
    return {name: inputs[name] for name in names}


def _noise(
    generator: np.random.Generator,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    limits: Sequence[float] | None,
) -> Array:
    if dtype.kind == "f":
        if limits is None:
            return generator.standard_normal(shape).astype(dtype)
        return generator.uniform(limits[0], limits[1], shape).astype(dtype)
    low, high = limits or (0, 1 if dtype.kind == "b" else 99)
    return generator.integers(int(low), int(high) + 1, shape).astype(dtype)
