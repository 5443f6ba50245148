"""The files of a run beside its bundle: the segments' graphs, and the reference's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backends.contract import Array, Artifact, Tensors
from backends.conversion_files import read_npz_sample
from deploy.analysis.accuracy.records import BlameError
from deploy.recipe.output_paths import WorkFile, work_folder
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.bundle.sample import read_sample

_RUN_AGAIN = "Run python -m deploy again for this bundle; it leaves the folder beside it."


class RunFiles:
    """What a run of ``python -m deploy`` left beside its bundle.

    Attributes:
        folder: the bundle's work folder.
    """

    def __init__(self, bundle: Path) -> None:
        """Find the work folder.

        Raises:
            BlameError: it is missing.
        """
        bundle = bundle.absolute() if bundle.name in ("", "..") else bundle
        self.folder = work_folder(bundle)
        if not (self.folder / WorkFile.ARTIFACTS).is_dir():
            raise BlameError(
                f"bundle '{bundle}' has no work folder",
                expected=f"'{self.folder}' with the segments and their samples",
                got="a folder without" if self.folder.is_dir() else "nothing",
                do=_RUN_AGAIN,
            )
        self._bundle = bundle

    @property
    def metrics(self) -> Path:
        """The file of what was measured."""
        return self.folder / WorkFile.BLAME_METRICS

    @property
    def operator_folder(self) -> Path:
        """The folder that keeps the operator which a bisection ends at."""
        return self.folder / WorkFile.BLAME_PARTS

    def original_graph(self, segment: str) -> Path:
        """The segment's graph in fp32.

        Raises:
            BlameError: it is missing.
        """
        path = self.folder / WorkFile.SEGMENTS / f"{segment}.onnx"
        if not path.is_file():
            raise BlameError(
                f"segment '{segment}'", expected=str(path), got="nothing", do=_RUN_AGAIN
            )
        return path

    def converted_graph(self, segment: str) -> Path:
        """The segment's graph as it was converted: the cast one where it was cast.

        Raises:
            BlameError: it is missing.
        """
        cast = self.folder / WorkFile.CAST / f"{segment}.onnx"
        return cast if cast.is_file() else self.original_graph(segment)

    def reference_values(self, manifest: Manifest) -> dict[str, Array]:
        """The reference's value of every tensor that a sample has.

        Raises:
            BlameError: a sample is missing, or belongs to another run.
            BundleError: the bundle has no sample, or it was changed.
        """
        values: dict[str, Array] = {}
        for step in manifest.steps:
            values |= self._step_values(step)
        sample = read_sample(self._bundle, manifest)
        for name, array in sample.inputs.items():
            if name in values and not _same_sample(values[name], array):
                raise self._of_another_run(f"the sample of '{name}' is not the bundle's")
        return {**values, **sample.inputs, **sample.outputs}

    def _step_values(self, step: Artifact) -> Tensors:
        path = self.folder / WorkFile.ARTIFACTS / f"{step.name}.sample.npz"
        try:
            values = read_npz_sample(path).values
        except FileNotFoundError as error:
            raise self._of_another_run(f"there is no sample of segment '{step.name}'") from error
        except (OSError, ValueError) as error:
            raise BlameError(f"'{path}' is not an npz file: {error}", do=_RUN_AGAIN) from error
        for spec in (*step.inputs, *step.outputs):
            if spec.name not in values or not spec.accepts(values[spec.name].shape):
                raise self._of_another_run(
                    f"the sample of segment '{step.name}' has no '{spec.name}'"
                )
        return values

    def _of_another_run(self, why: str) -> BlameError:
        return BlameError(
            f"'{self.folder}' is of another run than the bundle: {why}", do=_RUN_AGAIN
        )


def _same_sample(first: Array, second: Array) -> bool:
    """Whether two arrays have the same values, in whatever precision."""
    return first.shape == second.shape and np.allclose(
        first, second, rtol=1e-2, atol=1e-3, equal_nan=True
    )
