"""The stages in order: model, export, partition, convert, bundle, verify, benchmark."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Segment, Tensors
from backends.gap import worst
from deploy.benchmark import Latency, benchmark
from deploy.bundle import assemble, check_target, publish, seal, write_picture
from deploy.convert import Converted, checked_options, convert
from deploy.export import export
from deploy.model import build_model
from deploy.partition import Cut, Cutting, partition
from deploy.progress import Progress
from deploy.recipe import ModelRecipe, Recipe, RecipeError, check, ranges
from deploy.reference import Reference, as_torch
from deploy.runtime.manifest import Manifest, PostStep
from deploy.runtime.sample import TENSORS
from deploy.samples import sample_inputs, sample_pictures, write_sample
from deploy.verify import CHAIN, Evidence, Verdict, verify

_STAGES = {"export", "segments", "artifacts", "bundle"}  # what a run writes beside its bundle


@dataclass(frozen=True)
class Places:
    """Where a run writes: the bundle, and the stages' own files beside it."""

    bundle: Path
    work: Path


@dataclass(frozen=True)
class Outcome:
    """What a run made and how it measured up."""

    bundle: Path
    manifest: Manifest
    verdict: Verdict
    latency: Latency | None

    @property
    def size(self) -> int:
        """Bytes of the steps' own files."""
        files = [name for step in self.manifest.steps for name in step.files]
        return sum(self.manifest.files[name].size for name in files)

    @property
    def backends(self) -> str:
        """The backends of the steps, such as ``a`` or ``a+b``."""
        return "+".join(dict.fromkeys(step.backend for step in self.manifest.steps))

    @property
    def gap(self) -> float:
        """The chain's largest relative distance from PyTorch."""
        gaps = self.manifest.verification.gaps
        return worst(item.gap for item in gaps if item.step == CHAIN).max_rel


def deploy(recipe: Recipe, places: Places, progress: Progress) -> Outcome:
    """Carry out a recipe.

    Returns:
        The outcome; a bundle that does not agree with PyTorch is written too, marked as such.

    Raises:
        DeployError: a stage cannot do its work; no bundle is written.
    """
    _check(recipe, places)
    pictures = sample_pictures(recipe.model, recipe.verify.images)
    inputs = sample_inputs(recipe.model, pictures)
    with progress.stage("model"):
        model = build_model(recipe.model)
    shutil.rmtree(places.work, ignore_errors=True)
    with progress.stage("export") as stage:
        spans = ranges(recipe.model.dynamic)
        exported = export(model, as_torch(inputs), places.work / "export", spans)
        stage.size = _size(places.work / "export")
    with progress.stage("partition") as stage:
        cutting = partition(exported, _cuts(recipe), places.work / "segments")
        stage.size = _size(places.work / "segments")
    reference = Reference(model, cutting.points)
    values = reference(inputs)
    converted = [
        _convert(recipe, segment, values, places.work, progress) for segment in cutting.segments
    ]
    staging = places.work / "bundle"
    with progress.stage("bundle") as stage:
        manifest = _bundle(recipe.model, converted, cutting, values, staging)
        stage.size = _size(staging)
    with progress.stage("verify") as stage:
        evidence = Evidence(reference, values, pictures, _annotations(recipe))
        verdict = verify(staging, manifest, evidence, recipe.verify)
        if verdict.found:
            write_picture(
                staging, pictures[0], verdict.expected[0], verdict.found[0], manifest.classes
            )
        manifest = seal(staging, replace(manifest, verification=verdict.verification))
    outcome = Outcome(places.bundle, manifest, verdict, None)
    stage.gap = outcome.gap
    publish(staging, places.bundle)
    return replace(outcome, latency=_latency(recipe, places.bundle, progress))


def _check(recipe: Recipe, places: Places) -> None:
    """Everything that can be refused before any work is done."""
    check(recipe)
    for backend in (recipe.backend, *recipe.chain.values()):
        checked_options(backend)
    check_target(places.bundle)
    _check_work(places.work)
    if recipe.verify.eval and recipe.model.eval is None:
        raise RecipeError(
            "verify.eval=true",
            expected="a model with an evaluation set",
            got="none",
            do="Pass model.eval=ANNOTATIONS.json (COCO format, its pictures beside it).",
        )


def _check_work(work: Path) -> None:
    """The folder of the stages' files is emptied at the start, so it must be one of ours."""
    strangers = {path.name for path in work.glob("*")} - _STAGES
    if strangers or (work.exists() and not work.is_dir()):
        raise RecipeError(
            f"'{work}' is needed for the files of the stages",
            expected="a new folder, or an earlier one",
            got=", ".join(sorted(strangers)) or "a file",
            do="Pass another bundle=FOLDER.",
        )


def _cuts(recipe: Recipe) -> list[Cut]:
    segments = recipe.partition.segments
    return [Cut(cut.name, cut.start, cut.end, cut.outputs) for cut in segments]


def _convert(
    recipe: Recipe, segment: Segment, values: Tensors, work: Path, progress: Progress
) -> Converted:
    backend = recipe.backend_of(segment.name)
    with progress.stage(f"convert {segment.name}") as stage:
        out = work / "artifacts" / segment.name
        converted = convert(segment, backend, values, out, recipe.convert.timeout)
        stage.size = sum((out / file).stat().st_size for file in converted.artifact.files)
    return converted


def _bundle(
    model: ModelRecipe,
    converted: Sequence[Converted],
    cutting: Cutting,
    values: Tensors,
    staging: Path,
) -> Manifest:
    manifest = assemble(model, converted, staging)
    if manifest.pre is not None:
        outputs = [spec.name for spec in manifest.outputs]
        manifest = replace(manifest, post=chosen_post(model, outputs, cutting.points))
    write_sample(staging / TENSORS, manifest.inputs, manifest.outputs, values)
    return seal(staging, manifest)


def chosen_post(
    model: ModelRecipe, outputs: Sequence[str], points: Mapping[str, str]
) -> PostStep | None:
    """The host step whose border is where the chain ends, if the model has one.

    Args:
        model: its ``post`` entries name the borders.
        outputs: the chain's outputs.
        points: the point of each.
    """
    for post in model.post:
        if all(any(_covers(at, points[name]) for at in post.border) for name in outputs):
            return PostStep(post.id, tuple(outputs), post.params)
    return None


def _covers(border: str, point: str) -> bool:
    return f"{point}.".startswith(f"{border}.")


def _annotations(recipe: Recipe) -> Path | None:
    return Path(recipe.model.eval) if recipe.verify.eval and recipe.model.eval else None


def _latency(recipe: Recipe, bundle: Path, progress: Progress) -> Latency | None:
    if not recipe.bench.runs:
        return None
    with progress.stage("bench"):
        return benchmark(bundle, recipe.bench.runs)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
