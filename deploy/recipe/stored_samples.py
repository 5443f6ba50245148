"""Real inputs from ``.npz`` files, which ``model.samples`` names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from backends.contract import Array, Dynamic
from deploy.recipe.dynamic_shapes import dynamic_axes, varying_inputs
from deploy.recipe.schema import ModelRecipe, RecipeError
from deploy.runtime.bundle.sample import ARRAY_FAULTS, read_untrusted_arrays

_SUFFIX = ".npz"


def stored_samples(model: ModelRecipe, supplied: Collection[str] = ()) -> list[dict[str, Array]]:
    """The inputs in each file of ``model.samples``, by the files' names.

    Args:
        model: the recipe of the model, with all of its inputs.
        supplied: inputs that a file may leave out, since they come from pictures.

    Raises:
        RecipeError: there is no such file or folder, a file is no npz file, or it does not hold a
            value of every input with its dtype and shape.
    """
    if model.samples is None:
        return []
    path = Path(model.samples).expanduser()
    if not path.exists():
        raise RecipeError(
            f"model.samples '{path}'",
            expected="a folder of pictures or .npz files, or one .npz file",
            got="nothing",
        )
    files = [path] if path.is_file() else sorted(path.glob(f"*{_SUFFIX}"))
    return [_read(file, model, supplied) for file in files]


def _read(file: Path, model: ModelRecipe, supplied: Collection[str]) -> dict[str, Array]:
    try:
        arrays = read_untrusted_arrays(file)
    except ARRAY_FAULTS as error:
        raise RecipeError(
            f"sample '{file}'",
            expected="an .npz file of arrays",
            got=f"a file that NumPy does not read as one ({type(error).__name__})",
            do="Write it with numpy.savez(FILE, input_name=array, ...).",
        ) from error
    arrays = {name.removesuffix(".npy"): array for name, array in arrays.items()}
    known = varying_inputs(model)
    if not {*known} - {*supplied} <= {*arrays} <= {*known}:
        raise RecipeError(
            f"sample '{file}'",
            expected=f"an array for each input ({', '.join(known)})",
            got=", ".join(sorted(arrays)) or "none",
            do="Write it with numpy.savez(FILE, **{'input name': array, ...}).",
        )
    _check_shapes(file, model, arrays)
    return arrays


def _check_shapes(file: Path, model: ModelRecipe, arrays: Mapping[str, Array]) -> None:
    axes = dynamic_axes(model)
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        spec = model.inputs[name]
        expected = [axes[name].get(axis, size) for axis, size in enumerate(spec.shape)]
        fits = len(expected) == array.ndim and all(
            _fits(dim, size, sizes) for dim, size in zip(expected, array.shape, strict=True)
        )
        if array.dtype != np.dtype(spec.dtype) or not fits:
            raise RecipeError(
                f"input '{name}' of sample '{file}'",
                expected=_described(spec.dtype, expected),
                got=_described(array.dtype.name, array.shape),
                do=f"Convert it before it is saved, with array.astype('{spec.dtype}') and "
                "array.reshape(...).",
            )


def _fits(expected: int | Dynamic, size: int, sizes: dict[str, int]) -> bool:
    """Whether a size is the fixed one, or in its range and the same as under its name before."""
    if not isinstance(expected, Dynamic):
        return expected == size
    return expected.min <= size <= expected.max and sizes.setdefault(expected.name, size) == size


def _described(dtype: str, shape: Collection[int | Dynamic]) -> str:
    sizes = [
        f"{dim.name} {dim.min}..{dim.max}" if isinstance(dim, Dynamic) else str(dim)
        for dim in shape
    ]
    return f"{dtype}[{', '.join(sizes)}]"
