"""A chain and its post-processing that run in another process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from backends.codec import to_json
from backends.contract import Array, EngineError, Tensors, check_inputs
from deploy.runtime.bundle.manifest import Manifest, called_steps
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import ordered_steps
from deploy.runtime.execution.schedule import Step
from deploy.runtime.execution.streaming import StreamStage
from deploy.runtime.isolation.detections import unpack_detections
from deploy.runtime.isolation.process import BundleProcess
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Placement


class IsolatedChain(Chain):
    """A chain whose steps run in another process, all of them in one call.

    Args:
        process: has loaded the bundle; it ends when the chain is closed.
        manifest: the bundle's manifest, with the engines that run.
    """

    def __init__(self, process: BundleProcess, manifest: Manifest) -> None:
        called = called_steps(manifest)
        super().__init__(
            [(step, IsolatedStep(process, step)) for step in ordered_steps(manifest)],
            manifest.inputs,
            manifest.outputs,
            [(step, IsolatedStep(process, step)) for step in manifest.steps if step.name in called],
        )
        self._process = process
        self._specs = manifest.inputs

    def _run(self, inputs: Tensors, seconds: dict[str, float] | None) -> dict[str, Array]:
        arrays = check_inputs(self._specs, inputs)
        tensors = {spec.name: array for spec, array in zip(self._specs, arrays, strict=True)}
        reply = self._process.call("chain", tensors, timed=seconds is not None)
        if seconds is not None:
            seconds |= reply.values["seconds"]
        return reply.arrays

    def stages(self) -> list[StreamStage]:
        """One stage, since the process runs one call after the other."""
        return [self]

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._process.close()


class IsolatedStep:
    """One step of such a chain; see ``Runner``."""

    def __init__(self, process: BundleProcess, step: Step) -> None:
        self._process, self._step = process, step

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once.

        Raises:
            DeployError: as the step's own runner does; or the process was ended.
        """
        return self._process.call("step", inputs, step=self._step.name).arrays

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class IsolatedPost:
    """Post-processing in another process.

    Args:
        process: has loaded the bundle.
    """

    def __init__(self, process: BundleProcess) -> None:
        self._process = process

    def placed(self, tensors: Sequence[Array], placements: Sequence[Placement]) -> list[Detections]:
        """The detections of each picture of a batch; see ``placed_detections``.

        Raises:
            DeployError: as the step itself does; or the process was ended.
        """
        numbered = {str(number): tensor for number, tensor in enumerate(tensors)}
        places = [to_json(placement) for placement in placements]
        reply = self._process.call("post", numbered, placements=places)
        try:
            return unpack_detections(reply.arrays, len(placements))
        except (LookupError, ValueError) as error:
            raise EngineError("the bundle's process answers with no detections") from error


def open_isolated(root: Path, manifest: Manifest) -> tuple[IsolatedChain, IsolatedPost | None]:
    """Load a bundle in another process.

    Args:
        root: the bundle.
        manifest: its manifest, with the engines that are to run.

    Raises:
        BundleError: a file differs from the manifest.
        DeployError: what loading it raises there.
        EngineError: the process was ended.
    """
    process = BundleProcess(root, manifest)
    return IsolatedChain(process, manifest), IsolatedPost(process) if manifest.post else None
