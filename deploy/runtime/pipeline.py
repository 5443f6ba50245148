"""A bundle, opened: picture -> pre -> chain -> post -> detections."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np

from backends.contract import Array, DeployError, Tensors
from deploy.runtime.bundle.engine_choice import Choice, Choices, apply_choices, read_tuned
from deploy.runtime.bundle.integrity import verify_files
from deploy.runtime.bundle.manifest import Manifest, read_manifest
from deploy.runtime.bundle.probe import probe_first
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import check_built, load_chain
from deploy.runtime.execution.post_steps import Post, make_post
from deploy.runtime.execution.streaming import beside, stream
from deploy.runtime.vision.batching import batch_size, in_batches
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import Picture, Placement
from deploy.runtime.vision.preprocess import Prepared, Preparer


class Pipeline:
    """A bundle's chain with what surrounds it; open it in a ``with`` statement.

    Attributes:
        manifest: the bundle's description, its steps on the engines that run.
        chain: tensors by name to tensors by name.
        post: the host step after the chain, or nothing.

    Examples:
        >>> with Pipeline.open("bundles/yolov3") as pipeline:
        ...     detections = pipeline("photo.jpg")
        >>> bool(detections.scores[0] > 0.5)
        True
        >>> pipeline.classes
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """

    def __init__(self, manifest: Manifest, chain: Chain, post: Post | None) -> None:
        self.manifest = manifest
        self.chain = chain
        self.post = post
        self._preparer = Preparer(manifest.pre, manifest.inputs) if manifest.pre else None

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        threads: int | None = None,
        key: Path | None = None,
        trusted: bool = False,
        choices: Choices | None = None,
    ) -> Pipeline:
        """Check a bundle and prepare its engines.

        Args:
            bundle: the folder.
            threads: for every engine that has this option, in the place of what was recorded and
                of what ``tune`` has found here.
            key: a public key; a bundle that it did not sign, or with one byte changed, is refused.
            trusted: leaves out the trial in a process of its own that files get which this machine
                has not loaded before. A signature that was asked for stands for it too.
            choices: what each step runs on and with how many threads, in the place of ``threads``
                and of what ``tune`` has found here; an empty one is the bundle as it was made.

        Raises:
            BundleError: not a bundle, damaged, of a newer format, not signed, with engines to
                build, or without an engine that is chosen.
            MissingLibraryError: an engine is not installed here.
            EngineError: an engine does not load its files.
        """
        root = Path(bundle)
        manifest = read_manifest(root) if key is None else read_signed(root, key)
        if manifest.verification.status == "failed":
            warnings.warn(
                f"bundle '{bundle}' did not agree with its model when it was made", stacklevel=2
            )
        return cls.of(root, manifest, threads, trusted or key is not None, choices)

    @classmethod
    def of(
        cls,
        root: Path,
        manifest: Manifest,
        threads: int | None = None,
        trusted: bool = False,
        choices: Choices | None = None,
    ) -> Pipeline:
        """As ``open``, with a manifest that need not be in the bundle yet."""
        if choices is None and threads is not None:
            choices = {step.name: Choice(threads=threads) for step in manifest.steps}
        running = apply_choices(manifest, read_tuned(manifest) if choices is None else choices)
        check_built(root, running.steps)
        verify_files(root, running, [name for step in running.steps for name in step.files])
        if not trusted:
            probe_first(root, manifest)
        post = make_post(running.post.id, running.post.params) if running.post else None
        return cls(running, load_chain(root, running), post)

    @classmethod
    def without_engines(cls, manifest: Manifest) -> Pipeline:
        """What surrounds the chain alone: ``prepare`` and ``finish`` work."""
        post = make_post(manifest.post.id, manifest.post.params) if manifest.post else None
        return cls(manifest, Chain((), manifest.inputs, manifest.outputs), post)

    def __call__(self, picture: Picture) -> Detections:
        """What is in a picture, in its own pixels; boxes without masks are not clipped to it.

        Raises:
            ImageError: not a picture.
            EngineError: a step failed; the pipeline stays usable.
            DeployError: this bundle takes tensors, not pictures.
        """
        prepared = self._prepared([picture])
        return self._finished(self.chain(prepared.inputs), prepared)[0]

    def timed(self, picture: Picture, seconds: dict[str, float]) -> Detections:
        """As a call on a decoded picture, and the seconds of pre, each step, chain and post."""
        start = time.perf_counter()
        prepared = self._prepared([picture])
        ready = time.perf_counter()
        steps: dict[str, float] = {}
        outputs = self.chain.timed(prepared.inputs, steps)
        ran = time.perf_counter()
        (found,) = self._finished(outputs, prepared)
        end = time.perf_counter()
        seconds |= {"pre": ready - start, **steps}
        seconds["chain"] = ran - ready - sum(steps.values())  # what is around the engines
        seconds |= {"post": end - ran, "total": end - start}
        return found

    def prepare(self, picture: Picture) -> tuple[dict[str, Array], Placement]:
        """The chain's inputs for a picture, and where it lies in them."""
        prepared = self._prepared([picture])
        return prepared.inputs, prepared.placements[0]

    def finish(self, outputs: Tensors, placement: Placement) -> Detections:
        """The first picture's detections, from the chain's outputs."""
        return self._found(outputs, [placement])[0]

    def stream(
        self,
        pictures: Iterable[Picture],
        depth: int | None = None,
        batch: int | Literal["auto"] = 1,
    ) -> Iterator[Detections]:
        """What is in each picture, in their order; steps of neighbouring pictures overlap.

        Preparing, each step of the chain and finishing run at once, in threads of their own, on
        different pictures. The pictures are asked for in the caller's thread.

        Args:
            pictures: as for a call.
            depth: how many batches may be under way, which bounds the memory; by default one more
                than there are parts that can run at once.
            batch: pictures in a call of the chain; ``auto`` is what the bundle was made for: its
                fixed batch, or the usual size of one that varies.

        Raises:
            DeployError: as for a call, where the picture's detections would have come; or this
                bundle does not take such a batch, or nothing may be under way.
        """
        if depth is not None and depth < 1:
            raise DeployError("depth", expected="1 or more", got=str(depth))
        size = batch_size(self.manifest.inputs, batch)
        parts = [self._pair, *map(beside, self.chain.stages()), lambda both: self._finished(*both)]
        batches = stream(parts, in_batches(pictures, size), depth or len(parts) + 1)
        return (found for batch in batches for found in batch)

    def _pair(self, pictures: Sequence[Picture]) -> tuple[Tensors, Prepared]:
        prepared = self._prepared(pictures)
        return prepared.inputs, prepared

    def _prepared(self, pictures: Sequence[Picture]) -> Prepared:
        if self._preparer is None:
            raise DeployError(
                f"bundle of '{self.manifest.model}' takes tensors, not pictures",
                do="Use pipeline.chain({...}).",
            )
        return self._preparer(pictures)

    def _finished(self, outputs: Tensors, prepared: Prepared) -> list[Detections]:
        """What is found; the memory of the inputs is used again."""
        found = self._found(outputs, prepared.placements)
        if self._preparer is not None:
            self._preparer.give_back(prepared)
        return found

    def _found(self, outputs: Tensors, placements: Sequence[Placement]) -> list[Detections]:
        if self.post is None or self.manifest.post is None:
            raise DeployError(
                f"bundle of '{self.manifest.model}' has no host step for its outputs",
                do="Use pipeline.chain({...}).",
            )
        tensors = [_full(outputs[name]) for name in self.manifest.post.inputs]
        found = self.post.batch(tensors)[: len(placements)]
        return [one.placed(place) for one, place in zip(found, placements, strict=True)]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.manifest.classes

    def __enter__(self) -> Self:
        self.chain.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.chain.__exit__()


def _full(tensor: Array) -> Array:
    """Host steps compute in fp32, also where an engine ends in fp16."""
    return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
