"""A bundle's own sample: a picture or tensors, with the outputs of PyTorch."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from backends.contract import Array
from backends.conversion_files import Sample, split_sample
from deploy.runtime.bundle.integrity import verify_files
from deploy.runtime.bundle.manifest import BundleError, Manifest
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result

R = TypeVar("R", bound=Result)

IMAGE = "sample/image.png"
RESULT = "sample/result.npz"  # what the reference says of the picture
DETECTIONS = "sample/detections.json"  # the same in bundles of before
TENSORS = "sample/tensors.npz"
STATE = "state.npz"
PICTURE = "detections.png"  # for people: the sample's result, drawn

_MOST_BYTES = 4 << 30  # of all arrays together

ARRAY_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,  # the header is Python source
)
"""What NumPy and zipfile raise on files that hold no arrays."""


def step_sample_name(step: str) -> str:
    """The file with a step's inputs and outputs, in bundles whose engines the device builds."""
    return f"sample/steps/{step}.npz"


def read_sample(bundle: Path, manifest: Manifest) -> Sample:
    """The sample's inputs and expected outputs, after comparing the hash of their file.

    Raises:
        BundleError: there is no sample, or it was changed or is damaged.
    """
    if manifest.sample is None:
        raise BundleError(f"bundle '{bundle}' has no sample")
    return _read(bundle, manifest, manifest.sample)


def read_step_sample(bundle: Path, manifest: Manifest, step: str) -> Sample:
    """A step's inputs and expected outputs; errors as of ``read_sample``."""
    name = step_sample_name(step)
    _check_listed(bundle, manifest, name)
    return _read(bundle, manifest, name)


def _read(bundle: Path, manifest: Manifest, name: str) -> Sample:
    verify_files(bundle, manifest, [name])
    try:
        arrays = read_untrusted_arrays(bundle / name)
    except ARRAY_FAULTS as error:
        raise BundleError(
            f"bundle '{bundle}': '{name}' does not hold what it says: {error}"
        ) from error
    return split_sample(arrays)


def read_untrusted_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an untrusted npz file, none of which declares more than the file holds.

    Raises:
        ValueError: an array does, or holds objects. A damaged file raises another of
            ``ARRAY_FAULTS``.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if len(sizes) < len(archive.infolist()) or sum(sizes.values()) > _MOST_BYTES:
            raise ValueError("names that are there twice, or too much")
        for name, size in sizes.items():
            with archive.open(name) as file:
                _check_header(name, file, size)
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _check_header(name: str, file: IO[bytes], size: int) -> None:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"'{name}' of another version")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or file.tell() + prod(shape) * dtype.itemsize != size:
        raise ValueError(f"'{name}' of {dtype}{list(shape)} in {size} bytes")


def read_initial_state(bundle: Path, manifest: Manifest) -> dict[str, Array]:
    """The state before the first call, by the names of the chain's inputs; empty without one.

    Raises:
        BundleError: the file was changed or is damaged, or holds other tensors.
    """
    name = manifest.initial_state
    if name is None:
        return {}
    verify_files(bundle, manifest, [name])
    try:
        arrays = split_sample(read_untrusted_arrays(bundle / name)).inputs
    except ARRAY_FAULTS as error:
        raise BundleError(f"bundle '{bundle}': '{name}' holds no state: {error}") from error
    specs = {spec.name: spec for spec in manifest.inputs}
    for tensor in manifest.state:
        array, spec = arrays.get(tensor.input), specs[tensor.input]
        if array is None or array.dtype.name != spec.dtype or not spec.accepts(array.shape):
            raise BundleError(
                f"bundle '{bundle}': '{name}'",
                expected=f"'{spec.name}' as {spec}",
                got="none" if array is None else f"{array.dtype}{list(array.shape)}",
            )
    return {tensor.input: arrays[tensor.input] for tensor in manifest.state}


def sample_picture(bundle: Path, manifest: Manifest) -> Path | None:
    """The sample's picture, after comparing its hash; None where the model takes no picture."""
    if IMAGE not in manifest.files:
        return None
    verify_files(bundle, manifest, [IMAGE])
    return bundle / IMAGE


def expected_result(bundle: Path, manifest: Manifest, kind: type[R]) -> R:
    """The reference's result for the sample picture.

    Args:
        bundle: the bundle.
        manifest: its manifest.
        kind: the class of the result.

    Raises:
        BundleError: there is none, or it was changed or is damaged.
    """
    name = DETECTIONS if DETECTIONS in manifest.files else RESULT
    _check_listed(bundle, manifest, name)
    verify_files(bundle, manifest, [name])
    try:
        if name == DETECTIONS:
            rows = json.loads((bundle / name).read_text())
            return kind.from_arrays(Detections.from_json(rows).to_arrays())
        return kind.from_arrays(read_untrusted_arrays(bundle / name))
    except ARRAY_FAULTS as error:
        raise BundleError(f"bundle '{bundle}': '{name}' holds no {kind.noun}: {error}") from error


def has_result(manifest: Manifest) -> bool:
    """Whether the bundle has the reference's result for its sample picture."""
    return RESULT in manifest.files or DETECTIONS in manifest.files


def _check_listed(bundle: Path, manifest: Manifest, name: str) -> None:
    if name not in manifest.files:
        raise BundleError(f"bundle '{bundle}' has no '{name}'")
