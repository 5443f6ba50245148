"""The models and partition presets of this repository, in every precision, by its own stages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import DeployError, Dynamic, Segment, Tensors
from backends.process.conversion import ConversionLimits, convert_in_child
from deploy.cli.catalog import config_choices
from deploy.cli.compose import compose
from deploy.convert import checked_options
from deploy.export.source import source_of
from deploy.partition.segments import partition_recipe
from deploy.pipeline.cache_store import CacheStore
from deploy.pipeline.cached_stages import export_cached
from deploy.precision.cast_segments import cast_segments
from deploy.recipe.sample_inputs import sample_inputs, sample_pictures
from deploy.recipe.schema import Recipe
from deploy.recipe.validate import check_recipe
from tests.parsersuite.batches import outcomes
from tests.parsersuite.outcome import Outcome, Task

BACKEND = "tensorrt_rtx"
PRECISIONS = ("fp32", "fp16", "bf16")
OWN = "its own"  # the partition in the model's own file
_TEMPLATES = ("module", "onnx")  # they need a model of the user's
_RANDOM_WEIGHTS = ("mask_rcnn_coco", "yolov3_coco")  # the files are downloads
_BATCH = "{batch: [1, 4, 16]}"
_CACHE_BYTES = 8 << 30
_LIMITS = ConversionLimits(timeout=900)


@dataclass(frozen=True)
class Deployment:
    """A model with a partition preset.

    Attributes:
        model: its name, or that of a recipe.
        preset: of the partition.
        batch: whether the batch is open.
        words: of the command line.
    """

    model: str
    preset: str
    batch: bool
    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """Unique among all."""
        return f"{self.model}, {self.preset}{', open batch' if self.batch else ''}"


@dataclass(frozen=True)
class Row:
    """One segment in one precision, or the reason why a deployment has none."""

    deployment: str
    model: str
    preset: str
    segment: str = ""
    precision: str = ""
    sizes: str = ""
    verdict: str = ""
    why: str = ""
    layers: int = 0
    size: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """Unique among all."""
        return f"{self.deployment}: {self.segment} {self.precision}"


def deployments() -> Iterator[Deployment]:
    """Every model with every preset, with fixed sizes and with an open batch, and every recipe."""
    for model in config_choices("model"):
        if model in _TEMPLATES:
            continue
        for preset in (OWN, *config_choices("partition")):
            yield from _of_model(model, preset)
    for name in config_choices("recipe"):
        yield Deployment(f"recipe {name}", OWN, False, (f"+recipe={name}", f"backend={BACKEND}"))


def _of_model(model: str, preset: str) -> Iterator[Deployment]:
    words = [f"+model={model}", f"+backend={BACKEND}"]
    words += [f"+partition={preset}"] if preset != OWN else []
    words += ["model.weights=null"] if model in _RANDOM_WEIGHTS else []
    yield Deployment(model, preset, False, tuple(words))
    inputs = compose([f"+model={model}"]).model.inputs
    if "image" in inputs:
        _, *rest = inputs["image"].shape
        shape = ", ".join(map(str, rest))
        words += [f"model.inputs={{image: {{shape: [batch, {shape}]}}}}", f"model.dynamic={_BATCH}"]
        yield Deployment(model, preset, True, tuple(words))


def rows_of(deployment: Deployment, work: Path, cache: Path) -> Iterator[Row]:
    """Export, cut, cast, parse and build; a row as soon as each segment is done."""
    template = Row(deployment.key, deployment.model, deployment.preset)
    shutil.rmtree(work, ignore_errors=True)
    try:
        recipe = compose(deployment.words)
        check_recipe(recipe)
        segments, values = _segments(recipe, work, CacheStore(cache, _CACHE_BYTES))
    except DeployError as error:
        yield replace(template, verdict="no segments", why=_first_line(error))
        return
    for precision in PRECISIONS:
        row = replace(template, precision=precision)
        try:
            cast = _cast(recipe, precision, segments, values, work / precision)
        except DeployError as error:
            names = ", ".join(segment.name for segment in segments)
            yield replace(row, segment=names, verdict="not cast", why=_first_line(error))
            continue
        layers = _layers(cast)
        for segment in cast:
            yield _row(row, recipe, segment, layers, work)


def _segments(recipe: Recipe, work: Path, cache: CacheStore) -> tuple[Sequence[Segment], Tensors]:
    inputs = sample_inputs(recipe.model, sample_pictures(recipe.model, 1))
    source = source_of(recipe)
    exported, _ = export_cached(cache, recipe.model.name, source, inputs, work / "export")
    partition = partition_recipe(recipe, exported, work / "cut")
    values = source.reference(partition.points, work / "reference")(inputs)
    return partition.segments, values


def _cast(
    recipe: Recipe, precision: str, segments: Sequence[Segment], values: Tensors, out: Path
) -> Sequence[Segment]:
    wanted = replace(recipe, backend=replace(recipe.backend, precision=precision))
    cast, _ = cast_segments(wanted, segments, values, out)
    return cast


def _layers(segments: Sequence[Segment]) -> dict[str, Outcome]:
    tasks = [Task(segment.name, str(segment.onnx), build=False) for segment in segments]
    return {outcome.name: outcome for outcome in outcomes(tasks)}


def _row(
    template: Row, recipe: Recipe, segment: Segment, parsed: dict[str, Outcome], work: Path
) -> Row:
    out, start = work / "artifacts" / segment.name, time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    row = replace(
        template,
        segment=segment.name,
        sizes="dynamic" if _is_dynamic(segment) else "static",
        layers=sum(parsed[segment.name].layers.values()),
    )
    options, precision = checked_options(recipe.backend), template.precision
    try:
        artifact = convert_in_child(segment, BACKEND, options, precision, None, out, _LIMITS)
    except DeployError as error:
        refused = parsed[segment.name].verdict
        verdict = refused if refused != "parsed" else "refused by the builder"
        return replace(row, verdict=verdict, why=str(error))
    seconds = round(time.monotonic() - start, 1)
    size = sum((out / name).stat().st_size for name in artifact.files)
    return replace(row, verdict="built", size=size, seconds=seconds)


def _is_dynamic(segment: Segment) -> bool:
    return any(isinstance(dim, Dynamic) for spec in segment.inputs for dim in spec.dims)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
