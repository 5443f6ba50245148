"""The stages in order: model, export, partition, convert, bundle, verify, benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends.contract import Tensors
from backends.conversion_files import write_sample
from deploy.bundle import assemble, check_target, publish, restore_previous, seal, write_picture
from deploy.convert import checked_options
from deploy.export.onnx_source import complete_inputs
from deploy.export.source import source_of
from deploy.partition.host_steps import host_step_points, resolve_host_steps, select_post_step
from deploy.partition.segments import Partition, partition_recipe
from deploy.pipeline.benchmark import benchmark
from deploy.pipeline.build_record import BUILD_RECORD, write_build_record
from deploy.pipeline.cache_store import CacheStore, default_cache_folder
from deploy.pipeline.cached_stages import export_once
from deploy.pipeline.conversion import (
    ALSO,
    ARTIFACTS,
    CAST,
    ConversionContext,
    ConvertedSegments,
    convert_all,
)
from deploy.pipeline.work_folder import check_own_folder, empty_folder, hold_work_folder
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.sample_inputs import sample_inputs, sample_pictures
from deploy.recipe.schema import AUTO, OFF, ModelRecipe, Recipe, RecipeError
from deploy.recipe.validate import check_backends, check_recipe
from deploy.report.data import DATA, PAGE
from deploy.report.progress import Progress
from deploy.report.run_result import Latency, RunResult
from deploy.runtime.bundle.manifest import HostStep, Manifest
from deploy.runtime.bundle.probe import remember_probed
from deploy.runtime.bundle.sample import TENSORS
from deploy.runtime.bundle.signing import private_key, sign
from deploy.verify import ReferenceData, Verdict, expected_detections_only, verify

_GIB = 1 << 30


_STAGING = "bundle"


_STAGES = {
    "export",
    "segments",
    "reference",
    CAST,
    ARTIFACTS,
    ALSO,
    "blame",
    "blame.json",
    BUILD_RECORD,
    PAGE,
    DATA,
    _STAGING,
    f"{_STAGING}.old",
}  # what a run writes beside its bundle


def run_pipeline(recipe: Recipe, places: RunPaths, progress: Progress) -> RunResult:
    """Carry out a recipe.

    Returns:
        The outcome; a bundle that does not agree with PyTorch is written too, marked as such.

    Raises:
        DeployError: a stage cannot do its work; no bundle is written.
    """
    recipe = _checked(recipe, places)
    with hold_work_folder(places.work):
        return _run_locked(recipe, places, progress)


def _run_locked(recipe: Recipe, places: RunPaths, progress: Progress) -> RunResult:
    restore_previous(places.work / _STAGING, places.bundle)
    empty_folder(places.work)
    pictures = sample_pictures(recipe.model, recipe.verify.images)
    inputs = sample_inputs(recipe.model, pictures)
    with progress.stage("model"):
        source = source_of(recipe)
    store = _store(recipe)
    with progress.stage("export") as stage:
        work = places.work / "export"
        exported, stage.kept = export_once(store, recipe.model.name, source, inputs, work)
        stage.size = _size(places.work / "export")
    with progress.stage("partition") as stage:
        cutting = partition_recipe(recipe, exported, places.work / "segments")
        host = resolve_host_steps(recipe.partition.host, cutting.segments, exported.inputs)
        at = host_step_points(
            recipe.partition.host, cutting.reference_points, no_others=exported.by_name
        )
        points = {**cutting.points, **at}
        stage.size = _size(places.work / "segments")
    with progress.stage("reference"):
        reference = source.reference(points, places.work / "reference")
        values = reference(inputs)
    write_build_record(places.work, recipe, points)
    given = ConversionContext(store, values, progress)
    engines = convert_all(recipe, cutting.segments, places.work, given)
    staging = places.work / _STAGING
    with progress.stage("bundle") as stage:
        manifest = _bundle(recipe.model, engines, cutting, host, values, staging)
        stage.size = _size(staging)
    with progress.stage("verify") as stage:
        evidence = ReferenceData(reference, values, pictures, _annotations(recipe), reference.name)
        verdict = _verdict(recipe, manifest, evidence, staging)
        manifest = seal(staging, replace(manifest, verification=verdict.verification))
        if recipe.bundle.sign is not None:
            sign(staging, _key(recipe.bundle.sign))
    outcome = RunResult(
        places.bundle, manifest, verdict, reference.name, None, engines.halved, pictures
    )
    stage.gap = outcome.gap
    if not outcome.pending:
        remember_probed(manifest)
    publish(staging, places.bundle)
    if outcome.pending:
        return outcome
    return replace(outcome, latency=_latency(recipe, places.bundle, progress))


def _checked(recipe: Recipe, places: RunPaths) -> Recipe:
    """Everything that can be refused before any work is done; what a file says is filled in."""
    if recipe.model.file is not None and recipe.model.target is None:
        recipe = replace(recipe, model=complete_inputs(recipe.model))
    check_recipe(recipe)
    check_backends(recipe)
    for backend in recipe.backends:
        checked_options(backend)
    check_target(places.bundle)
    if recipe.bundle.sign is not None:
        private_key(_key(recipe.bundle.sign))
    check_own_folder(places.work, _STAGES, "Pass another bundle=FOLDER.")
    if recipe.verify.eval and recipe.model.eval is None:
        raise RecipeError(
            "verify.eval=true",
            expected="a model with an evaluation set",
            got="none",
            do="Pass model.eval=ANNOTATIONS.json (COCO format, its pictures beside it).",
        )
    return recipe


def _key(name: str) -> Path:
    return Path(name).expanduser()


def _store(recipe: Recipe) -> CacheStore | None:
    if recipe.cache == OFF:
        return None
    folder = (
        default_cache_folder()
        if recipe.cache == AUTO
        else Path(recipe.cache).expanduser().absolute()
    )
    return CacheStore(folder, int(recipe.cache_gib * _GIB))


def _bundle(
    model: ModelRecipe,
    engines: ConvertedSegments,
    cutting: Partition,
    host: Sequence[HostStep],
    values: Tensors,
    staging: Path,
) -> Manifest:
    manifest = assemble(model, engines.own, staging, cutting.results, host, engines.others)
    if manifest.pre is not None:
        outputs = [spec.name for spec in manifest.outputs]
        manifest = replace(manifest, post=select_post_step(model, outputs, cutting.marks))
    known = tuple(spec for spec in manifest.outputs if spec.name in values)
    write_sample(staging / TENSORS, manifest.inputs, known, values)
    return seal(staging, manifest)


def _verdict(recipe: Recipe, manifest: Manifest, evidence: ReferenceData, staging: Path) -> Verdict:
    """Measure the bundle, or leave that to the device; the sample picture is written either way."""
    if any(step.pending for step in manifest.steps):
        verdict = expected_detections_only(manifest, evidence)
    else:
        verdict = verify(staging, manifest, evidence, recipe.verify)
    if verdict.expected:
        found = verdict.found[0] if verdict.found else None
        write_picture(staging, evidence.pictures[0], verdict.expected[0], found, manifest.classes)
    return verdict


def _annotations(recipe: Recipe) -> Path | None:
    return Path(recipe.model.eval) if recipe.verify.eval and recipe.model.eval else None


def _latency(recipe: Recipe, bundle: Path, progress: Progress) -> Latency | None:
    if not recipe.bench.runs:
        return None
    with progress.stage("bench"):
        return benchmark(bundle, recipe.bench.runs)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
