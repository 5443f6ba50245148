"""An opened bundle: picture -> preprocessing -> chain -> post-processing -> result."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, overload

from backends.contract import Array, DeployError, Tensors
from deploy.runtime.bundle.engine_choice import Choice, Choices, apply_choices, read_tuned
from deploy.runtime.bundle.integrity import verified_meanwhile, verify_files
from deploy.runtime.bundle.manifest import Manifest, read_manifest
from deploy.runtime.bundle.sample import read_initial_state
from deploy.runtime.bundle.signing import read_signed
from deploy.runtime.bundle.trust import is_own
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.loading import check_built, load_chain
from deploy.runtime.execution.own_posts import registered_here
from deploy.runtime.execution.post_steps import Post, make_post, placed_results
from deploy.runtime.execution.stateful import StatefulChain
from deploy.runtime.execution.streaming import StreamStage, map_first, stream
from deploy.runtime.execution.text_front_ends import TextFrontEnd, make_text_front_end
from deploy.runtime.inputs.iterables import each_picture
from deploy.runtime.isolation.process import check_can_isolate
from deploy.runtime.isolation.proxies import IsolatedChain, IsolatedPost, open_isolated
from deploy.runtime.isolation.trial import try_first
from deploy.runtime.results.result import Result
from deploy.runtime.vision.batching import batch_size, in_batches
from deploy.runtime.vision.image import Decoded, Picture, Placement, decode
from deploy.runtime.vision.preprocess import Prepared, Preparer

Isolation = Literal["auto", "always", "never"]
"""When a bundle's engines and host steps run in a process of their own; see ``Pipeline.open``."""


class Pipeline:
    """A bundle's chain between its preprocessing and its post-processing.

    Use it in a ``with`` statement, which holds the engines. Several threads may call it.

    Attributes:
        manifest: the bundle's description, its steps on the engines that run.
        chain: tensors by name to tensors by name.
        post: the post-processing step after the chain, or None.

    Examples:
        >>> with Pipeline.open("bundles/yolov3") as pipeline:
        ...     rows = pipeline("photo.jpg").above(0.5).to_json(pipeline.classes)
        >>> sorted(rows[0])
        ['box', 'class', 'label', 'score']
    """

    def __init__(
        self,
        manifest: Manifest,
        chain: Chain,
        post: Post | IsolatedPost | None,
        initial_state: Tensors | None = None,
    ) -> None:
        self.manifest = manifest
        self.chain = chain
        self.post = post
        self._preparer = Preparer(manifest.pre, manifest.caller_inputs) if manifest.pre else None
        self._initial_state = initial_state or {}
        self._own_stream = self.open_stream() if self._initial_state else None

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        threads: int | None = None,
        key: Path | None = None,
        trusted: bool = False,
        choices: Choices | None = None,
        isolate: Isolation = "auto",
    ) -> Pipeline:
        """Check a bundle and load its engines.

        Args:
            bundle: the folder.
            threads: for every engine that has this option, instead of the number that the bundle
                records or that ``tune`` has kept here.
            key: an Ed25519 public key; a bundle that it did not sign, or with one byte changed, is
                refused.
            trusted: whether the bundle is known to do no harm, as one with a ``key`` is.
            choices: the engine and the threads of each step by name, instead of ``threads`` and of
                what ``tune`` has kept here; an empty mapping is the bundle as it was made.
            isolate: when engines and host steps run in a process of their own, whose crash, time
                and memory are an ``EngineError`` of the call. ``auto``: unless the bundle is
                trusted, or this user has made it on this machine. ``always``. ``never``: a bundle
                that would be isolated is tried once in a child process, and loaded here if every
                step passed.

        Returns:
            The pipeline, to be used in a ``with`` statement.

        Raises:
            BundleError: not a bundle, damaged, of another format, not signed, with engines to
                build, or without an engine that is chosen.
            MissingLibraryError: an engine is not installed here.
            EngineError: an engine does not load its files; or the process was ended.

        Examples:
            >>> choices = {"yolov3": Choice(threads=1)}
            >>> with Pipeline.open("bundles/yolov3", choices=choices) as pipeline:
            ...     detections = pipeline("photo.jpg")
        """
        root = Path(bundle)
        manifest = read_manifest(root) if key is None else read_signed(root, key)
        if manifest.verification.status == "failed":
            warnings.warn(
                f"bundle '{bundle}' did not agree with its model when it was made", stacklevel=2
            )
        return cls.of(root, manifest, threads, trusted or key is not None, choices, isolate)

    @classmethod
    def of(
        cls,
        root: Path,
        manifest: Manifest,
        threads: int | None = None,
        trusted: bool = False,
        choices: Choices | None = None,
        isolate: Isolation = "auto",
    ) -> Pipeline:
        """Load the engines of a bundle whose manifest is given, and need not be written yet.

        Args:
            root: the bundle.
            manifest: its manifest.
            threads: as of ``open``.
            trusted: as of ``open``.
            choices: as of ``open``.
            isolate: as of ``open``.

        Raises:
            BundleError, MissingLibraryError, EngineError: as of ``open``.
        """
        if choices is None and threads is not None:
            choices = {step.name: Choice(threads=threads) for step in manifest.steps}
        chosen = apply_choices(manifest, read_tuned(manifest) if choices is None else choices)
        check_built(root, chosen.steps)
        trusted = trusted or is_own(manifest)
        isolated = isolate == "always" or (isolate == "auto" and not trusted)
        if isolated or not trusted:
            _check_known_elsewhere(manifest)
        if isolated:
            check_can_isolate()
            return cls(chosen, *open_isolated(root, chosen), read_initial_state(root, chosen))
        files = [name for step in chosen.steps for name in step.files]
        if not trusted:
            verify_files(root, chosen, files)
            try_first(root, chosen)
        with verified_meanwhile(root, chosen, files):  # no engine reads a byte before
            post = make_post(chosen.post.id, chosen.post.params) if chosen.post else None
        return cls(chosen, load_chain(root, chosen), post, read_initial_state(root, chosen))

    @classmethod
    def without_engines(cls, manifest: Manifest) -> Pipeline:
        """Preprocessing and post-processing alone: ``prepare`` and ``finish`` work."""
        post = make_post(manifest.post.id, manifest.post.params) if manifest.post else None
        return cls(manifest, Chain((), manifest.inputs, manifest.outputs), post)

    @overload
    def __call__(self, inputs: Picture) -> Result: ...

    @overload
    def __call__(self, inputs: Tensors) -> dict[str, Array]: ...

    def __call__(self, inputs: Picture | Tensors) -> Result | dict[str, Array]:
        """The result for a picture, or the outputs of the chain for tensors.

        State of the model is carried from one call to the next; see ``reset_state``.

        Args:
            inputs: a picture: a path, the bytes of a file or an opened binary file, a Pillow
                image, or an array (H, W) or (H, W, 1|3|4) of uint8 in RGB. Or a mapping of
                tensors: each of the chain's inputs but its state.

        Returns:
            Of a picture what the post-processing step gives, such as ``Detections`` in its pixels.
            Of tensors the outputs of the chain by name, without its state.

        Raises:
            ImageError: not a picture.
            TensorError: a tensor is missing, unknown, or of another dtype or shape.
            EngineError: a step failed; the pipeline stays usable.
            DeployError: this bundle takes tensors, not pictures.

        Examples:
            >>> import numpy as np
            >>> with Pipeline.open("bundles/yolov3") as pipeline:
            ...     maps = pipeline({"image": np.zeros((1, 3, 320, 320), np.float32)})
            >>> sorted(maps)
            ['pred_maps.0', 'pred_maps.1', 'pred_maps.2']
        """
        if isinstance(inputs, Mapping):
            return self._outputs(inputs)
        return self._run(self._prepare_batch([inputs]))[0]

    def _outputs(self, inputs: Tensors) -> dict[str, Array]:
        """The outputs of the chain, whose state is carried."""
        return self.chain(inputs) if self._own_stream is None else self._own_stream(inputs)

    def open_stream(self) -> StatefulChain:
        """A further series of calls with a state of its own, on the same engines."""
        state = self.manifest.state
        return StatefulChain(self.chain, self.manifest.inputs, state, self._initial_state)

    def reset_state(self) -> None:
        """Put the state of the pipeline's own calls back to what it was before the first."""
        if self._own_stream is not None:
            self._own_stream.reset()

    def timed(self, picture: Picture, seconds: dict[str, float]) -> Result:
        """The result, as of a call, and how long each part took.

        Args:
            picture: as for a call; its decoding counts as preprocessing.
            seconds: gets the seconds of ``pre``, of each step by its name, of ``chain`` (what is
                around the steps), of ``post``, and the ``total``.
        """
        start = time.perf_counter()
        prepared = self._prepare_batch([picture])
        ready = time.perf_counter()
        parts: dict[str, float] = {}
        (result,) = self._run(prepared, parts)
        end = time.perf_counter()
        post = parts.pop("post")
        seconds |= {"pre": ready - start, **parts}
        seconds["chain"] = end - ready - post - sum(parts.values())
        seconds |= {"post": post, "total": end - start}
        return result

    def decode(self, picture: Picture) -> Decoded:
        """The picture in RGB as a call decodes it, which may be at a part of its size.

        Raises:
            ImageError: not a picture.
        """
        return decode(picture) if self._preparer is None else self._preparer.decode(picture)

    def prepare(self, picture: Picture) -> tuple[dict[str, Array], Placement]:
        """The chain's inputs for a picture, and where it lies in them."""
        prepared = self._prepare_batch([picture])
        return prepared.inputs, prepared.placements[0]

    def finish(self, outputs: Tensors, placement: Placement) -> Result:
        """The first picture's result, from the chain's outputs."""
        return self._results(outputs, [placement])[0]

    def results(self, inputs: Tensors) -> list[Result]:
        """The result of each input of a batch of tensors; see ``finish_batch``.

        Args:
            inputs: each of the chain's inputs but its state.

        Raises:
            DeployError: as of a call with tensors; or the bundle has no post-processing, or the
                outputs do not fit it.
        """
        return self.finish_batch(self._outputs(inputs))

    def finish_batch(self, outputs: Tensors) -> list[Result]:
        """The result of each input of a batch, from the chain's outputs.

        There is no picture to refer to: boxes and masks are in pixels of the input tensor.
        """
        return self._results(outputs, None)

    def encode(self, text: str) -> dict[str, Array]:
        """The chain's inputs for a text, by the bundle's text front end.

        Raises:
            TextError: the text is empty or too long, or has a word that the model does not know.
            DeployError: this bundle does not take text.
        """
        if self._text_front_end is None:
            raise DeployError(
                f"bundle of '{self.manifest.model}' takes no text",
                do="A bundle takes text where model.text named a text front end when it was made.",
            )
        return self._text_front_end(text)

    def answer(self, text: str) -> Result:
        """The result for a text.

        Args:
            text: as the bundle's text front end takes it.

        Returns:
            What the post-processing step gives, such as ``Tokens``.

        Raises:
            DeployError: as of ``encode`` and ``results``.
        """
        return self.results(self.encode(text))[0]

    @cached_property
    def _text_front_end(self) -> TextFrontEnd | None:
        """Made when a text comes, since its code may be missing where tensors are run alone."""
        manifest = self.manifest
        return make_text_front_end(manifest) if manifest.text is not None else None

    def stream(
        self,
        pictures: Iterable[Picture] | str | Path,
        depth: int | None = None,
        batch: int | Literal["auto"] = 1,
    ) -> Iterator[Result]:
        """The result for each picture, in their order; neighbouring pictures overlap.

        Preprocessing, each step of the chain and post-processing run in threads of their own, on
        different pictures at the same time. The pictures are read in the caller's thread.

        Args:
            pictures: each as for a call. Or a text or path: a folder, a pattern such as
                ``photos/*.jpg``, a video file, ``camera:0``, or a single picture; see
                ``read_inputs``.
            depth: how many batches may be in flight, which bounds the memory; by default one more
                than there are stages.
            batch: pictures in a call of the chain; ``auto`` is the batch that the bundle was made
                for: the fixed one, or the typical one of a range.

        Returns:
            An iterator over the result of each picture.

        Raises:
            DeployError: as for a call, in the place of the picture's result; or the bundle
                does not take such a batch, or ``depth`` is less than 1.

        Examples:
            >>> with Pipeline.open("bundles/yolov3") as pipeline:
            ...     counts = [len(found.lines()) for found in pipeline.stream(["photo.jpg"] * 3)]
            >>> len(counts)
            3
        """
        if depth is not None and (not isinstance(depth, int) or depth < 1):
            got = str(depth) if isinstance(depth, int) else type(depth).__name__
            raise DeployError("depth", expected="1 or more", got=got)
        size = batch_size(self.manifest.inputs, batch)
        stages = self._stages()
        batches = stream(stages, in_batches(each_picture(pictures), size), depth or len(stages) + 1)
        return (result for batch in batches for result in batch)

    def _stages(self) -> list[StreamStage]:
        if isinstance(self.chain, IsolatedChain) or self._own_stream is not None:
            return [self._prepare_batch, self._run]
        return [
            self._inputs_and_batch,
            *map(map_first, self.chain.stages()),
            lambda pair: self._postprocess(*pair),
        ]

    def _inputs_and_batch(self, pictures: Sequence[Picture]) -> tuple[Tensors, Prepared]:
        prepared = self._prepare_batch(pictures)
        return prepared.inputs, prepared

    def _prepare_batch(self, pictures: Sequence[Picture]) -> Prepared:
        if self._preparer is None:
            raise self._no_picture()
        return self._preparer(pictures)

    def _no_picture(self) -> DeployError:
        taken, do = "tensors", "Use pipeline.chain({...})."
        if self.manifest.text is not None:
            taken, do = "text or tensors", "Use pipeline.answer(TEXT)."
        elif self.post is not None:
            do = "Use pipeline.results({...}), or pipeline({...}) for the outputs of the chain."
        return DeployError(
            f"bundle of '{self.manifest.model}' takes {taken}, not pictures",
            do=do,
        )

    def _run(self, prepared: Prepared, seconds: dict[str, float] | None = None) -> list[Result]:
        """The result of each picture; ``seconds`` gets those of each step and of ``post``."""
        stream = self._own_stream
        if stream is None and isinstance(self.chain, IsolatedChain) and self.post is not None:
            results = self.chain.results(prepared.inputs, prepared.placements, seconds)
            self._release(prepared)
            return results
        if stream is not None:
            outputs = stream(prepared.inputs, seconds)
        elif seconds is None:
            outputs = self.chain(prepared.inputs)
        else:
            outputs = self.chain.timed(prepared.inputs, seconds)
        if seconds is None:
            return self._postprocess(outputs, prepared)
        start = time.perf_counter()
        results = self._postprocess(outputs, prepared)
        seconds["post"] = time.perf_counter() - start
        return results

    def _postprocess(self, outputs: Tensors, prepared: Prepared) -> list[Result]:
        results = self._results(outputs, prepared.placements)
        self._release(prepared)
        return results

    def _release(self, prepared: Prepared) -> None:
        """Let the memory of the inputs be written again."""
        if self._preparer is not None:
            self._preparer.release(prepared)

    def _results(self, outputs: Tensors, placements: Sequence[Placement] | None) -> list[Result]:
        if self.post is None or self.manifest.post is None:
            raise DeployError(
                f"bundle of '{self.manifest.model}' has no host step for its outputs",
                do="Use pipeline.chain({...}).",
            )
        if isinstance(self.post, IsolatedPost):
            return self.post.placed(outputs, placements)
        return placed_results(self.post, self.manifest.post.inputs, outputs, placements)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; empty where the bundle has none."""
        return self.manifest.classes

    def __enter__(self) -> Self:
        self.chain.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.chain.__exit__()


def _check_known_elsewhere(manifest: Manifest) -> None:
    """Refuse a step that this process was told of, where the bundle runs in another."""
    if manifest.post is not None and manifest.post.id in registered_here():
        raise DeployError(
            f"host step '{manifest.post.id}' is known to this process alone, and a bundle runs in "
            "another unless it is signed or was made here",
            do="Install the step as an entry point of the group deploy.posts, or trust the bundle: "
            "--require-signature, trusted=True.",
        )
