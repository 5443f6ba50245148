"""The folder beside a bundle: the segments, and the reference's own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backends.contract import Array, Artifact, Tensors
from backends.conversion_files import read_sample as read_step_sample
from deploy.analysis.accuracy.records import BlameError
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.bundle.sample import read_sample

_AGAIN = "Run python -m deploy again for this bundle; it leaves the folder beside it."


class Work:
    """What a run of ``python -m deploy`` left beside its bundle.

    Attributes:
        folder: where that is.
    """

    def __init__(self, bundle: Path) -> None:
        """Find the folder.

        Raises:
            BlameError: it is missing.
        """
        bundle = bundle.absolute() if bundle.name in ("", "..") else bundle
        self.folder = bundle.with_name(f"{bundle.name}.work")
        if not (self.folder / "artifacts").is_dir():
            raise BlameError(
                f"bundle '{bundle}' has no work folder",
                expected=f"'{self.folder}' with the segments and their samples",
                got="a folder without" if self.folder.is_dir() else "nothing",
                do=_AGAIN,
            )
        self._bundle = bundle

    @property
    def metrics(self) -> Path:
        """The file of what was measured."""
        return self.folder / "blame.json"

    def original(self, segment: str) -> Path:
        """The segment's graph in fp32.

        Raises:
            BlameError: it is missing.
        """
        path = self.folder / "segments" / f"{segment}.onnx"
        if not path.is_file():
            raise BlameError(f"segment '{segment}'", expected=str(path), got="nothing", do=_AGAIN)
        return path

    def converted(self, segment: str) -> Path:
        """The segment's graph as it was converted: cast to half precision, if that was asked."""
        cast = self.folder / "cast" / f"{segment}.onnx"
        return cast if cast.is_file() else self.original(segment)

    def values(self, manifest: Manifest) -> dict[str, Array]:
        """The reference's value of every tensor that it has one of.

        Raises:
            BlameError: a sample is missing, or is of another run.
            BundleError: the bundle has no sample, or it was changed.
        """
        values: dict[str, Array] = {}
        for step in manifest.steps:
            values |= self._sample(step)
        sample = read_sample(self._bundle, manifest)
        for name, array in sample.inputs.items():
            if name in values and not _same(values[name], array):
                raise _other(self.folder, f"the sample of '{name}' is not the bundle's")
        return {**values, **sample.inputs, **sample.outputs}

    def _sample(self, step: Artifact) -> dict[str, Array]:
        path = self.folder / "artifacts" / f"{step.name}.sample.npz"
        try:
            found = read_step_sample(path).values
        except FileNotFoundError as error:
            raise _other(self.folder, f"there is no sample of segment '{step.name}'") from error
        except (OSError, ValueError) as error:
            raise BlameError(f"'{path}' is not an npz file: {error}", do=_AGAIN) from error
        _check(self.folder, step, found)
        return found


def _check(folder: Path, step: Artifact, found: Tensors) -> None:
    for spec in (*step.inputs, *step.outputs):
        if spec.name not in found or not spec.accepts(found[spec.name].shape):
            raise _other(folder, f"the sample of segment '{step.name}' has no '{spec.name}'")


def _same(one: Array, other: Array) -> bool:
    """Whether two arrays are one sample, in whatever precision."""
    return one.shape == other.shape and np.allclose(
        one, other, rtol=1e-2, atol=1e-3, equal_nan=True
    )


def _other(folder: Path, why: str) -> BlameError:
    return BlameError(f"'{folder}' is of another run than the bundle: {why}", do=_AGAIN)
