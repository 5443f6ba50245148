"""A chain and its post-processing that run in another process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from backends.contract import Array, EngineError, Tensors, check_inputs
from deploy.runtime.bundle.manifest import Manifest, PostStep, called_steps
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import ordered_steps
from deploy.runtime.execution.post_steps import result_class
from deploy.runtime.execution.schedule import Step
from deploy.runtime.execution.streaming import StreamStage
from deploy.runtime.isolation.process import BundleProcess
from deploy.runtime.isolation.results import unpack_results
from deploy.runtime.isolation.shared_memory import Message
from deploy.runtime.results.result import Result
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
        self._post = manifest.post
        self._specs = manifest.inputs

    def _run(self, inputs: Tensors, seconds: dict[str, float] | None) -> dict[str, Array]:
        reply = self._process.call("chain", self._checked(inputs), timed=seconds is not None)
        if seconds is not None:
            seconds |= reply.values["seconds"]
        return dict(reply.arrays)

    def notes(self) -> list[str]:
        """See ``Chain``."""
        return list(self._process.call("notes", {}).values["notes"])

    def results(
        self,
        inputs: Tensors,
        placements: Sequence[Placement],
        seconds: dict[str, float] | None = None,
    ) -> list[Result]:
        """Run every step and the post-processing; see ``placed_results``.

        Args:
            inputs: each of the chain's inputs.
            placements: of the pictures of the batch.
            seconds: gets the seconds of each step, and of ``post``.

        Raises:
            DeployError: as a call of a chain and the post-processing do; or the process was ended.
        """
        places = [vars(placement) for placement in placements]
        with self._active_calls:
            reply = self._process.call(
                "results", self._checked(inputs), placements=places, timed=seconds is not None
            )
        if seconds is not None:
            seconds |= {**reply.values["seconds"], "post": reply.values["post"]}
        assert self._post is not None, "the pipeline asks for no results then"
        return _unpack(self._post.id, reply, len(placements))

    def _checked(self, inputs: Tensors) -> Tensors:
        arrays = check_inputs(self._specs, inputs)
        return {spec.name: array for spec, array in zip(self._specs, arrays, strict=True)}

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
        return dict(self._process.call("step", inputs, step=self._step.name).arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class IsolatedPost:
    """Post-processing in another process.

    Args:
        process: has loaded the bundle.
        post: the bundle's entry of it.
    """

    def __init__(self, process: BundleProcess, post: PostStep) -> None:
        self._process, self._post = process, post

    def placed(self, outputs: Tensors, placements: Sequence[Placement] | None) -> list[Result]:
        """The result of each picture or input of a batch; see ``placed_results``.

        Raises:
            DeployError: as the step itself does; or the process was ended.
        """
        tensors = {name: outputs[name] for name in self._post.inputs}
        if placements is None:
            reply = self._process.call("post", tensors, placements=None)
            return _unpack(self._post.id, reply, _count(reply))
        places = [vars(placement) for placement in placements]
        reply = self._process.call("post", tensors, placements=places)
        return _unpack(self._post.id, reply, len(placements))


def _count(reply: Message) -> int:
    """How many results a reply says that it has; each of them has an array at least."""
    count = reply.values.get("count")
    if not isinstance(count, int) or not 0 <= count <= len(reply.arrays):
        raise EngineError("the bundle's process answers with no results")
    return count


def _unpack(id: str, reply: Message, count: int) -> list[Result]:
    """The results of ``count`` pictures in a reply, from the post-processing step with this id.

    Raises:
        EngineError: there are none.
    """
    try:
        return unpack_results(result_class(id), reply.arrays, count)
    except (LookupError, ValueError) as error:
        raise EngineError("the bundle's process answers with no results") from error


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
    post = IsolatedPost(process, manifest.post) if manifest.post else None
    return IsolatedChain(process, manifest), post
