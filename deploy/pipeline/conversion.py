"""Segments -> artifacts: each cast to the precision of its recipe, and converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.acceptance import DEFAULT_RULE, AcceptanceRule
from backends.contract import ConversionError, Segment, Tensors
from backends.options import other_device
from backends.support import Support
from deploy.convert import Converted, cast_precision
from deploy.pipeline.cache_store import CacheStore
from deploy.pipeline.cached_stages import convert_cached
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.schema import BackendRecipe, Recipe
from deploy.report.progress import Progress

if TYPE_CHECKING:
    from deploy.precision.cast_segments import CastSummary


@dataclass(frozen=True)
class ConvertedSegments:
    """The artifacts of all segments.

    Attributes:
        steps: one artifact for each segment, in the order of the segments.
        alternatives: artifacts of further backends for the same segments.
        casts: a summary for each segment that was cast.
    """

    steps: Sequence[Converted]
    alternatives: Sequence[Converted]
    casts: Sequence[CastSummary]

    @property
    def support(self) -> dict[str, Support]:
        """What the engines' own parsers say of the segments that the device is to convert."""
        items = (*self.steps, *self.alternatives)
        return {item.artifact.name: item.support for item in items if item.support is not None}


@dataclass(frozen=True)
class ConversionContext:
    """What conversion needs besides recipe and segments.

    Attributes:
        cache: keeps conversions, if it is on.
        values: the reference value of every input and output of the segments.
        progress: shows the stages.
        rule: what counts as agreement of an artifact with these values.
    """

    cache: CacheStore | None
    values: Tensors
    progress: Progress
    rule: AcceptanceRule = DEFAULT_RULE


def convert_all(
    recipe: Recipe, segments: Sequence[Segment], work: Path, context: ConversionContext
) -> ConvertedSegments:
    """Cast and convert every segment for each of its backends.

    Args:
        recipe: names the backends and precisions.
        segments: in fp32.
        work: the work folder; gets the cast segments and the artifacts.
        context: cache, reference values and progress.

    Raises:
        DeployError: a segment cannot be cast or converted; see ``cast_segments`` and ``convert``.
    """
    most = max(len(recipe.backends_of(segment.name)) for segment in segments)
    engines = {recipe.backend_of(segment.name).name for segment in segments}
    several = most > 1 or len(engines) > 1
    steps, casts = _convert(recipe, segments, work, context, name_backends=several)
    alternatives: list[Converted] = []
    for rank in range(1, most):
        ranked = [segment for segment in segments if len(recipe.backends_of(segment.name)) > rank]
        folder = work / WorkFile.ALTERNATIVES / str(rank)
        further = recipe.with_alternative(rank)
        artifacts, further_casts = _convert(further, ranked, folder, context, name_backends=True)
        alternatives += artifacts
        casts += further_casts
    return ConvertedSegments(steps, alternatives, casts)


def _convert(
    recipe: Recipe,
    segments: Sequence[Segment],
    folder: Path,
    context: ConversionContext,
    name_backends: bool,
) -> tuple[list[Converted], list[CastSummary]]:
    cast, summaries = _cast(recipe, segments, folder / WorkFile.CAST, context)
    artifacts = folder / WorkFile.ARTIFACTS
    return [
        _convert_segment(recipe, segment, artifacts, context, name_backends) for segment in cast
    ], summaries


def _cast(
    recipe: Recipe, segments: Sequence[Segment], out: Path, context: ConversionContext
) -> tuple[list[Segment], list[CastSummary]]:
    if all(cast_precision(recipe.backend_of(segment.name)) == "fp32" for segment in segments):
        return list(segments), []
    from deploy.precision.cast_segments import cast_segments  # loads onnxscript

    with context.progress.stage("precision", "measuring values and casting") as stage:
        cast, summaries = cast_segments(recipe, segments, context.values, out)
        stage.size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return cast, summaries


def _convert_segment(
    recipe: Recipe,
    segment: Segment,
    artifacts: Path,
    context: ConversionContext,
    name_backend: bool,
) -> Converted:
    backend, out = recipe.backend_of(segment.name), artifacts / segment.name
    engine = " on ".join(filter(None, (backend.name, other_device(backend.options))))
    label = f"{segment.name} ({engine}, {backend.precision})" if name_backend else segment.name
    activity = f"{backend.name} converts it in a process of its own"
    with context.progress.stage(f"convert {label}", activity) as stage:
        try:
            converted, stage.from_cache = convert_cached(
                context.cache, segment, backend, context.values, out, recipe.convert, context.rule
            )
        except ConversionError as error:
            error.args = (f"{error}{_automatic_advice(recipe, backend)}",)
            raise
        artifact = converted.artifact
        stage.size = sum((out / file).stat().st_size for file in artifact.files or artifact.source)
    return converted


def _automatic_advice(recipe: Recipe, backend: BackendRecipe) -> str:
    """How another engine gets what this one does not take, where that is possible."""
    measure = recipe.precision.measure
    if recipe.partition.auto is not None or measure is None or measure.name == backend.name:
        return ""
    words = f"+partition=auto partition.prefer=[{backend.name},{measure.name}]"
    return f"\n  To give what it does not take to another engine: {words}"
