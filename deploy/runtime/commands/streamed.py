"""Pictures of many sources through a pipeline, in their order; one that fails ends no other."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Literal

from backends.contract import DeployError, Tensors
from deploy.runtime.commands.cancellation import first_interrupt_ends
from deploy.runtime.inputs.reading import Input, read_pictures
from deploy.runtime.inputs.sources import InputError, Source
from deploy.runtime.inputs.video import VideoError
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.results.result import Result
from deploy.runtime.vision.batching import batch_size
from deploy.runtime.vision.image import Decoded, ImageError


@dataclass(frozen=True)
class Failure:
    """A picture or video that cannot be read, or not to its end.

    Attributes:
        source: of it.
        error: why.
    """

    source: Source
    error: DeployError


@dataclass(frozen=True)
class Outcome:
    """What a pipeline makes of a picture.

    Attributes:
        item: the picture and where it comes from.
        picture: in RGB.
        result: of the post-processing; or, of a bundle without one, the outputs of the chain.
    """

    item: Input
    picture: Decoded
    result: Result | Tensors


def streamed(
    pipeline: Pipeline, sources: Sequence[Source], every: int = 1, limit: int | None = None
) -> Iterator[Outcome | Failure]:
    """Run every picture and frame, decoding the next ones meanwhile.

    Ctrl-C ends a camera, and what was done stays done.

    Args:
        pipeline: takes pictures.
        sources: pictures, videos and cameras.
        every: of videos and cameras each frame of this number.
        limit: how many pictures and frames to run.

    Yields:
        The outcomes in order, each failure in its place.

    Raises:
        DeployError: a step of the chain failed.
    """
    waiting: deque[tuple[Input, Decoded] | Failure] = deque()

    def pictures(items: Iterable[tuple[Input, Decoded] | Failure]) -> Iterator[Decoded]:
        for item in items:
            waiting.append(item)
            if not isinstance(item, Failure):
                yield item[1]

    with first_interrupt_ends(any(source.kind == "camera" for source in sources)) as ended:
        readable = takewhile(lambda _: not ended(), _decoded(pipeline, sources, every, limit))
        for result in _results(pipeline, pictures(readable)):
            while isinstance(first := waiting.popleft(), Failure):
                yield first
            yield Outcome(*first, result)
        for failure in waiting:
            assert isinstance(failure, Failure)
            yield failure


def _decoded(
    pipeline: Pipeline, sources: Sequence[Source], every: int, limit: int | None
) -> Iterator[tuple[Input, Decoded] | Failure]:
    items = (item for source in sources for item in _of_source(pipeline, source, every))
    return islice(items, limit)


def _of_source(
    pipeline: Pipeline, source: Source, every: int
) -> Iterator[tuple[Input, Decoded] | Failure]:
    try:
        for item in read_pictures(source, every):
            yield item, pipeline.decode(item.picture)
    except (ImageError, InputError, VideoError) as error:
        yield Failure(source, error)


def _results(
    pipeline: Pipeline, pictures: Iterator[Decoded]
) -> Iterator[Result] | Iterator[Tensors]:
    if pipeline.post is not None:
        return pipeline.stream(pictures, batch=_batch(pipeline))
    return (pipeline(pipeline.prepare(picture)[0]) for picture in pictures)


def _batch(pipeline: Pipeline) -> Literal[1, "auto"]:
    """One picture in a call, which holds the least memory, unless the bundle takes more only."""
    try:
        batch_size(pipeline.manifest.inputs, 1)
    except DeployError:
        return "auto"
    return 1


class Progress:
    """Counts what is done, and measures how fast.

    Attributes:
        frames: of videos and cameras that were done.
        pictures: other pictures that were done.
        failed: what could not be read.
    """

    def __init__(self) -> None:
        self.frames = self.pictures = self.failed = 0
        self._seconds = 0.0

    def counted(self, outcomes: Iterable[Outcome | Failure]) -> Iterator[Outcome | Failure]:
        """The outcomes, while they are counted."""
        start = time.perf_counter()
        for outcome in outcomes:
            self.failed += isinstance(outcome, Failure)
            if isinstance(outcome, Outcome):
                is_frame = outcome.item.frame is not None
                self.frames += is_frame
                self.pictures += not is_frame
            yield outcome
        self._seconds = time.perf_counter() - start

    def line(self) -> str:
        """The frame rate of videos, or the number of pictures; empty where there is one alone."""
        parts = []
        if self.frames:
            parts.append(f"{self.frames} frames, {self._rate(self.frames)} frames per second")
        if self.pictures > 1 or (self.pictures and self.frames):
            parts.append(f"{self.pictures} picture{'s' if self.pictures > 1 else ''}")
        if self.failed and self.pictures + self.frames:
            parts.append(f"{self.failed} error{'s' if self.failed > 1 else ''}")
        return "; ".join(parts)

    def _rate(self, count: int) -> str:
        return f"{count / max(self._seconds, sys.float_info.epsilon):.1f}"
