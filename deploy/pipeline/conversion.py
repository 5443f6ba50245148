"""Segments -> artifacts: each cast to the precision that is asked for, and converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.contract import Segment, Tensors
from deploy.convert import Converted, cast_precision
from deploy.pipeline.cache_store import CacheStore
from deploy.pipeline.cached_stages import convert_once
from deploy.precision.cast_segments import CastSummary, cast_segments
from deploy.recipe.schema import Recipe
from deploy.report.progress import Progress

CAST, ARTIFACTS, ALSO = "cast", "artifacts", "also"


@dataclass(frozen=True)
class ConvertedSegments:
    """What the segments became.

    Attributes:
        own: one artifact for each segment.
        others: further ones that may run in their place.
        halved: the segments that were cast.
    """

    own: Sequence[Converted]
    others: Sequence[Converted]
    halved: Sequence[CastSummary]


@dataclass(frozen=True)
class ConversionContext:
    """What converting needs besides the segments.

    Attributes:
        store: the cache, if there is one.
        values: the reference's value of every input and output of the segments.
        progress: shows the stages.
    """

    store: CacheStore | None
    values: Tensors
    progress: Progress


def convert_all(
    recipe: Recipe, segments: Sequence[Segment], work: Path, given: ConversionContext
) -> ConvertedSegments:
    """Convert every segment for each backend and precision that is asked for it.

    Args:
        recipe: the recipe.
        segments: in fp32.
        work: the folder of the casts and artifacts.
        given: what else is needed.

    Raises:
        DeployError: a segment cannot be cast or converted; see ``halve`` and ``convert``.
    """
    most = max(len(recipe.backends_of(one.name)) for one in segments)
    own, halved = _convert(recipe, segments, work, given, most > 1)
    others: list[Converted] = []
    for rank in range(1, most):
        asked = [one for one in segments if len(recipe.backends_of(one.name)) > rank]
        folder = work / ALSO / str(rank)
        converted, cast = _convert(recipe.ranked(rank), asked, folder, given, several=True)
        others += converted
        halved += cast
    return ConvertedSegments(own, others, halved)


def _convert(
    recipe: Recipe, segments: Sequence[Segment], work: Path, given: ConversionContext, several: bool
) -> tuple[list[Converted], list[CastSummary]]:
    cast, halved = _halve(recipe, segments, work / CAST, given)
    made = [_one(recipe, one, work / ARTIFACTS, given, several) for one in cast]
    return made, halved


def _halve(
    recipe: Recipe, segments: Sequence[Segment], out: Path, given: ConversionContext
) -> tuple[list[Segment], list[CastSummary]]:
    if all(cast_precision(recipe.backend_of(one.name)) == "fp32" for one in segments):
        return list(segments), []
    with given.progress.stage("precision") as stage:
        found = cast_segments(recipe, segments, given.values, out)
        stage.size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return found


def _one(
    recipe: Recipe, segment: Segment, artifacts: Path, given: ConversionContext, several: bool
) -> Converted:
    backend, out = recipe.backend_of(segment.name), artifacts / segment.name
    name = f"{segment.name} ({backend.name}, {backend.precision})" if several else segment.name
    with given.progress.stage(f"convert {name}") as stage:
        converted, stage.kept = convert_once(
            given.store, segment, backend, given.values, out, recipe.convert
        )
        made = converted.artifact
        stage.size = sum((out / file).stat().st_size for file in made.files or made.source)
    return converted
