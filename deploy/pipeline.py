"""The stages in order: model, export, partition, convert, bundle, verify, benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract import Tensors
from deploy.asked import chosen_post, cut_as_asked
from deploy.assembling import assemble, check_target, publish, restore, seal, write_picture
from deploy.benchmark import Latency, benchmark
from deploy.caching.stages import export_once
from deploy.caching.store import Store, default_store
from deploy.checks import check, check_backends
from deploy.convert import checked_options
from deploy.engines import ALSO, ARTIFACTS, CAST, Converting, Engines, convert_all
from deploy.folders import check_ours, empty, held
from deploy.hosting import host_points, host_steps
from deploy.made import MADE, write_made
from deploy.onnx_source import complete
from deploy.outcome import Outcome
from deploy.partition import Cutting
from deploy.progress import Progress
from deploy.recipe import AUTO, OFF, ModelRecipe, Recipe, RecipeError
from deploy.reporting.contents import DATA, PAGE
from deploy.runtime.host import HostStep
from deploy.runtime.manifest import Manifest
from deploy.runtime.sample import TENSORS
from deploy.runtime.signing import private_key, sign
from deploy.runtime.trying import remember_tried
from deploy.samples import sample_inputs, sample_pictures, write_sample
from deploy.source import source_of
from deploy.verify import Evidence, Verdict, postpone, verify

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
    MADE,
    PAGE,
    DATA,
    _STAGING,
    f"{_STAGING}.old",
}  # what a run writes beside its bundle


@dataclass(frozen=True)
class Places:
    """Where a run writes: the bundle, and the stages' own files beside it."""

    bundle: Path
    work: Path


def deploy(recipe: Recipe, places: Places, progress: Progress) -> Outcome:
    """Carry out a recipe.

    Returns:
        The outcome; a bundle that does not agree with PyTorch is written too, marked as such.

    Raises:
        DeployError: a stage cannot do its work; no bundle is written.
    """
    recipe = _checked(recipe, places)
    with held(places.work):
        return _deploy(recipe, places, progress)


def _deploy(recipe: Recipe, places: Places, progress: Progress) -> Outcome:
    restore(places.work / _STAGING, places.bundle)
    empty(places.work)
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
        cutting = cut_as_asked(recipe, exported, places.work / "segments")
        host = host_steps(recipe.partition.host, cutting.segments, exported.inputs)
        at = host_points(recipe.partition.host, cutting.places, no_others=exported.by_name)
        points = {**cutting.points, **at}
        stage.size = _size(places.work / "segments")
    with progress.stage("reference"):
        reference = source.reference(points, places.work / "reference")
        values = reference(inputs)
    write_made(places.work, recipe, points)
    given = Converting(store, values, progress)
    engines = convert_all(recipe, cutting.segments, places.work, given)
    staging = places.work / _STAGING
    with progress.stage("bundle") as stage:
        manifest = _bundle(recipe.model, engines, cutting, host, values, staging)
        stage.size = _size(staging)
    with progress.stage("verify") as stage:
        evidence = Evidence(reference, values, pictures, _annotations(recipe), reference.name)
        verdict = _verdict(recipe, manifest, evidence, staging)
        manifest = seal(staging, replace(manifest, verification=verdict.verification))
        if recipe.bundle.sign is not None:
            sign(staging, _key(recipe.bundle.sign))
    outcome = Outcome(
        places.bundle, manifest, verdict, reference.name, None, engines.halved, pictures
    )
    stage.gap = outcome.gap
    if not outcome.pending:
        remember_tried(manifest)
    publish(staging, places.bundle)
    if outcome.pending:
        return outcome
    return replace(outcome, latency=_latency(recipe, places.bundle, progress))


def _checked(recipe: Recipe, places: Places) -> Recipe:
    """Everything that can be refused before any work is done; what a file says is filled in."""
    if recipe.model.file is not None and recipe.model.target is None:
        recipe = replace(recipe, model=complete(recipe.model))
    check(recipe)
    check_backends(recipe)
    for backend in recipe.backends:
        checked_options(backend)
    check_target(places.bundle)
    if recipe.bundle.sign is not None:
        private_key(_key(recipe.bundle.sign))
    check_ours(places.work, _STAGES, "Pass another bundle=FOLDER.")
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


def _store(recipe: Recipe) -> Store | None:
    if recipe.cache == OFF:
        return None
    folder = default_store() if recipe.cache == AUTO else Path(recipe.cache).expanduser().absolute()
    return Store(folder, int(recipe.cache_gib * _GIB))


def _bundle(
    model: ModelRecipe,
    engines: Engines,
    cutting: Cutting,
    host: Sequence[HostStep],
    values: Tensors,
    staging: Path,
) -> Manifest:
    manifest = assemble(model, engines, staging, cutting.results, host)
    if manifest.pre is not None:
        outputs = [spec.name for spec in manifest.outputs]
        manifest = replace(manifest, post=chosen_post(model, outputs, cutting.marks))
    known = tuple(spec for spec in manifest.outputs if spec.name in values)
    write_sample(staging / TENSORS, manifest.inputs, known, values)
    return seal(staging, manifest)


def _verdict(recipe: Recipe, manifest: Manifest, evidence: Evidence, staging: Path) -> Verdict:
    """Measure the bundle, or leave that to the device; the sample picture is written either way."""
    if any(step.pending for step in manifest.steps):
        verdict = postpone(manifest, evidence)
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
