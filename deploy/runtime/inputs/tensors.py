"""Tensors in .npz files, by the names of a chain's inputs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from backends.contract import Array, Specs, TensorError, Tensors, TensorSpec, check_tensor
from backends.conversion_files import split_sample
from backends.files import not_regular
from deploy.runtime.bundle.sample import ARRAY_FAULTS, read_untrusted_arrays


def read_tensors(path: Path, inputs: Specs) -> dict[str, Array]:
    """The arrays of a file for these inputs.

    The names in the file are those of the inputs; or ``input/`` and a name, as in the samples of
    bundles.

    Args:
        path: of an npz file, which need not be trusted.
        inputs: that are to be given.

    Raises:
        TensorError: no file of arrays; or an array is missing, unknown, or of another dtype or
            shape than its input.
    """
    name = f"tensors '{path}'"
    if got := not_regular(path):
        raise TensorError(name, expected="a file", got=got)
    try:
        arrays = read_untrusted_arrays(path)
    except ARRAY_FAULTS:
        raise TensorError(name, expected="an .npz file of arrays", got="another") from None
    arrays = split_sample(arrays).inputs or arrays
    _check_names(name, arrays, inputs)
    return arrays


def write_tensors(path: Path, arrays: Tensors) -> None:
    """Write arrays as an npz file, whatever their names: ``numpy.savez`` has arguments of its own.

    Raises:
        OSError: it cannot be written.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _check_names(file: str, arrays: dict[str, Array], inputs: Specs) -> None:
    wanted = {spec.name for spec in inputs}
    if arrays.keys() != wanted:
        arguments = ", ".join(f"{spec.name!r}: ..." for spec in inputs)
        raise TensorError(
            file,
            expected=", ".join(f"'{spec.name}' {spec}" for spec in inputs) or "no array",
            got=_names(arrays.keys() & wanted, len(arrays.keys() - wanted)),
            do=f"Write it by numpy.savez(FILE, **{{{arguments}}}).",
        )
    for spec in inputs:
        _check_tensor(file, spec, arrays[spec.name])


def _check_tensor(file: str, spec: TensorSpec, array: Array) -> None:
    try:
        check_tensor(spec, array.dtype, array.shape)
    except TensorError as error:
        converts = spec.accepts(array.shape)
        do = f"Convert it by .astype('{spec.dtype}')." if converts else ""
        raise TensorError(f"{file}: {error}", do=do) from None


def _names(known: set[str], others: int) -> str:
    names = [f"'{name}'" for name in sorted(known)]
    return ", ".join([*names, f"{others} of other names"] if others else names) or "none"
