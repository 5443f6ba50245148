"""The stages in order: model, export, partition, reference, convert, bundle, verify, devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from backends.contract import DeployError, EngineError, Tensors
from backends.conversion_files import write_sample
from deploy.bundle import (
    assemble,
    publish,
    restore_previous,
    seal,
    write_picture,
    write_state,
)
from deploy.export.onnx_files import OnnxFiles
from deploy.export.source import Reference, Source, source_of
from deploy.export.torch_source import TorchSource
from deploy.handover.collect import write_handover
from deploy.partition.host_steps import select_post_step
from deploy.pipeline.agreement import (
    acceptance_rule,
    check_reference,
    large_floors,
    unmoved_outputs,
)
from deploy.pipeline.build_record import write_build_record
from deploy.pipeline.cache_store import CacheStore, check_own_cache, default_cache_folder
from deploy.pipeline.cached_stages import export_cached
from deploy.pipeline.chain_plan import ChainPlan, plan_files, plan_graph, with_observed_shapes
from deploy.pipeline.conversion import ConversionContext, ConvertedSegments, convert_all
from deploy.pipeline.first_forward import check_first_forward
from deploy.pipeline.measured_placement import Declined, fastest_chain
from deploy.pipeline.placement import (
    PlacedChain,
    place_again,
    place_chain,
    trial_cache,
    trial_of,
)
from deploy.pipeline.preconditions import checked_recipe, evaluation_dataset, key_file
from deploy.pipeline.work_folder import empty_folder, lock_work_folder
from deploy.placement.inner_reference import with_inner_values
from deploy.recipe.output_paths import RunPaths, WorkFile, work_folder
from deploy.recipe.sample_inputs import (
    real_samples,
    sample_inputs,
    sample_pictures,
    typical_sample,
)
from deploy.recipe.schema import CACHE_AUTO, CACHE_OFF, ModelRecipe, Recipe
from deploy.recipe.tolerances import recipe_rule
from deploy.report.console import TerminalConsole
from deploy.report.progress import Progress, Stage
from deploy.report.run_result import RunResult
from deploy.runtime.benchmark.measurement import Measurement, measure_alone
from deploy.runtime.benchmark.worker import Subject, WorkerProcess, worker_process
from deploy.runtime.bundle.manifest import Manifest
from deploy.runtime.bundle.sample import TENSORS
from deploy.runtime.bundle.signing import sign
from deploy.runtime.bundle.trust import remember_own
from deploy.runtime.execution.own_posts import word_for_command
from deploy.runtime.execution.text_front_ends import make_text_front_end
from deploy.runtime.vision.compiling import without_compiling
from deploy.verify import ReferenceData, Verdict, expected_results_only, verify

_GIB = 1 << 30


def run_pipeline(
    recipe: Recipe, paths: RunPaths, progress: Progress, in_turns: bool = False
) -> RunResult:
    """Run every stage of a recipe.

    Args:
        recipe: what to do.
        paths: the bundle to write, and the work folder.
        progress: shows and times the stages.
        in_turns: whether the latency on this machine is measured later, in turns with others.

    Returns:
        The result. A bundle that does not agree with the reference is written too, with a failed
        verification.

    Raises:
        DeployError: the recipe is invalid or a stage failed; no bundle is written.
    """
    recipe = checked_recipe(recipe, paths)
    with lock_work_folder(paths.work), _waiting_benchmark(recipe, in_turns) as waiting:
        try:
            return _run_locked(recipe, paths, progress, in_turns, waiting)
        except KeyboardInterrupt:  # perhaps between the renames of ``publish``
            restore_previous(paths.work / WorkFile.STAGING, paths.bundle)
            raise


@contextmanager
def _waiting_benchmark(recipe: Recipe, in_turns: bool) -> Iterator[WorkerProcess | None]:
    """The process of the benchmark, which loads its libraries while the first stages run."""
    if in_turns or not recipe.bench.runs:
        yield None
        return
    engines = sorted({backend.name for backend in recipe.backends})
    with ExitStack() as processes:
        with without_compiling():
            process = processes.enter_context(worker_process(engines, apart=True))
        yield process


def _run_locked(
    recipe: Recipe,
    paths: RunPaths,
    progress: Progress,
    in_turns: bool,
    waiting: WorkerProcess | None,
) -> RunResult:
    staging = paths.work / WorkFile.STAGING
    restore_previous(staging, paths.bundle)
    empty_folder(paths.work)
    pictures = sample_pictures(recipe.model, recipe.verify.images)
    with progress.stage("model", "building it and loading its weights"):
        source = source_of(recipe)
        recipe = replace(recipe, model=source.recipe)
        real = real_samples(recipe.model, pictures)
        noise = source.with_state(sample_inputs(recipe.model, pictures))
        samples = [{**source.with_state(sample), **sample} for sample in real] or [noise]
    cache = _cache(recipe)
    traced = typical_sample(recipe.model, samples)
    chain = _plan(recipe, source, traced, cache, paths.work, progress)
    with progress.stage("reference", "running the model on the samples"):
        reference = source.reference(chain.points, paths.work / WorkFile.REFERENCE)
        values, *others = map(reference, samples)
        for sample_values in (values, *others):
            check_reference(sample_values, reference.name)
        chain = with_observed_shapes(chain, recipe, source, values, paths.work / WorkFile.SEGMENTS)
        second = others[:1] if real else _second(recipe.model, reference, pictures)
        write_build_record(paths.work, recipe, chain.points)
        floors = reference.floors(samples[0], values)
    placement = None
    if recipe.partition.auto is not None:
        with progress.stage("placement", "dividing the model between the engines") as stage:
            rule = replace(recipe_rule(recipe.verify), floors=large_floors(floors))
            context = ConversionContext(cache, values, progress, rule)
            placed = _place(recipe, source, chain, paths.work, context, stage)
            recipe, chain, placement = placed.recipe, placed.plan, placed.record
            values, *others = (with_inner_values(v, placed.parts) for v in (values, *others))
            for part in placed.parts:
                floors |= part.floors(values)
            stage.from_cache = placement.remembered
    rule = acceptance_rule(recipe.verify, chain.partition.segments, floors, values)
    compared = ReferenceData(
        reference,
        values,
        pictures,
        evaluation_dataset(recipe),
        reference.name,
        others,
        rule,
        unmoved_outputs(values, second, chain.partition.results),
        second,
    )
    context = ConversionContext(cache, values, progress, rule)
    converted = convert_all(recipe, chain.partition.segments, paths.work, context)
    with progress.stage("bundle", "copying and hashing files") as stage:
        manifest = _write_bundle(
            recipe.model, converted, chain, values, source.initial_state(), staging
        )
        stage.size = _folder_size(staging)
    with progress.stage("verify", f"comparing with {reference.name}") as stage:
        verdict = _verify(manifest, compared, staging)
        manifest = replace(manifest, verification=verdict.verification)
        write_handover(staging, manifest)
        manifest = seal(staging, manifest)
        if recipe.bundle.sign is not None:
            sign(staging, key_file(recipe.bundle.sign))
    result = RunResult(
        paths.bundle,
        manifest,
        verdict,
        reference.name,
        None,
        converted.casts,
        pictures,
        converted.support,
        placement,
    )
    stage.gap = result.gap
    remember_own(manifest)
    publish(staging, paths.bundle)
    if waiting is not None and not result.pending:
        with progress.stage("bench", f"{recipe.bench.runs} calls in a process of their own"):
            subject = Subject(str(paths.bundle), post=word_for_command(manifest.post))
            result = replace(result, latency=benchmark(subject, recipe.bench.runs, waiting))
    if not recipe.device:
        return result
    from deploy.pipeline.devices import measure_on_devices  # few runs need the rooms of devices

    later = in_turns and not result.pending
    manifest, outcomes = measure_on_devices(recipe, paths.bundle, manifest, progress, later)
    return replace(result, manifest=manifest, devices=outcomes)


def _cache(recipe: Recipe) -> CacheStore | None:
    if recipe.cache == CACHE_OFF:
        return None
    folder = (
        default_cache_folder()
        if recipe.cache == CACHE_AUTO
        else Path(recipe.cache).expanduser().absolute()
    )
    check_own_cache(folder)
    return CacheStore(folder, int(recipe.cache_gib * _GIB))


def _plan(
    recipe: Recipe,
    source: Source,
    inputs: Tensors,
    cache: CacheStore | None,
    work: Path,
    progress: Progress,
) -> ChainPlan:
    segments = work / WorkFile.SEGMENTS
    if isinstance(source, OnnxFiles):
        with progress.stage("partition", "reading the files") as stage:
            plan = plan_files(recipe, source, segments)
            stage.size = _folder_size(segments)
        return plan
    out, name = work / WorkFile.EXPORT, recipe.model.name

    def check() -> None:
        if isinstance(source, TorchSource):
            check_first_forward(recipe, source, inputs)

    with progress.stage("export", "tracing the model and translating it to ONNX") as stage:
        exported, stage.from_cache = export_cached(cache, name, source, inputs, out, check)
        stage.size = _folder_size(out)
    with progress.stage("partition", "cutting the graph") as stage:
        plan = plan_graph(recipe, exported, segments)
        stage.size = _folder_size(segments)
    return plan


def _place(
    recipe: Recipe,
    source: Source,
    chain: ChainPlan,
    work: Path,
    context: ConversionContext,
    stage: Stage,
) -> PlacedChain:
    """Divide the chain between the preferred engines, and on request measure how finely."""
    auto, rule = recipe.partition.auto, context.rule
    values, cache = context.values, context.cache

    def show(activity: str) -> None:
        stage.activity = activity

    if auto is None or not auto.measure:
        return place_chain(recipe, chain, values, work, cache, rule, show)
    trials = trial_cache(cache, work)
    quiet = Progress(TerminalConsole(quiet=True))

    def again(declined: Declined, folder: Path) -> PlacedChain:
        return place_again(
            planned,
            declined,
            chain,
            values,
            folder,
            lambda segment: trial_of(recipe, segment, trials, rule, show),
        )

    def write_bundle(candidate: PlacedChain, out: Path) -> None:
        refined = with_inner_values(values, candidate.parts)
        context = ConversionContext(trials, refined, quiet, rule)
        segments = candidate.plan.partition.segments
        converted = convert_all(candidate.recipe, segments, work_folder(out), context)
        state = source.initial_state()
        remember_own(_write_bundle(recipe.model, converted, candidate.plan, refined, state, out))

    planned = place_chain(recipe, chain, values, work / WorkFile.PLACEMENT, cache, rule, show)
    return fastest_chain(planned, again, write_bundle, work, show)


def _write_bundle(
    model: ModelRecipe,
    converted: ConvertedSegments,
    chain: ChainPlan,
    values: Tensors,
    initial_state: Tensors,
    staging: Path,
) -> Manifest:
    partition = chain.partition
    manifest = assemble(
        model,
        converted.steps,
        staging,
        partition.results,
        chain.host,
        converted.alternatives,
        chain.state,
    )
    if manifest.text is not None:
        make_text_front_end(manifest)  # refuses inputs and vocabularies that it does not suit
    if manifest.pre is not None or model.pre is None:  # not where the picture ends before the chain
        outputs = [spec.name for spec in manifest.caller_outputs]
        manifest = replace(manifest, post=select_post_step(model, outputs, partition.marks))
    known_outputs = tuple(spec for spec in manifest.outputs if spec.name in values)
    write_sample(staging / TENSORS, manifest.inputs, known_outputs, values, compressed=False)
    return seal(staging, write_state(staging, manifest, initial_state))


def _second(model: ModelRecipe, reference: Reference, pictures: Sequence[Path]) -> list[Tensors]:
    """The reference's values for a second sample: the second picture, and other noise."""
    try:
        return [reference(sample_inputs(model, pictures[1:], seed=1))]
    except DeployError:  # noise may take another branch of the model than the sample
        return []


def _verify(manifest: Manifest, data: ReferenceData, staging: Path) -> Verdict:
    """Compare the bundle with the reference, unless the device has to build engines first.

    A sample picture is written in both cases.
    """
    with without_compiling():
        if any(step.pending for step in manifest.steps):
            verdict = expected_results_only(manifest, data)
        else:
            verdict = verify(staging, manifest, data)
    if verdict.expected and manifest.pre is not None:
        actual = verdict.actual[0] if verdict.actual else None
        write_picture(staging, data.pictures[0], verdict.expected[0], actual, manifest.classes)
    return verdict


def benchmark(subject: Subject, runs: int, waiting: WorkerProcess) -> Measurement:
    """Measure a bundle's latency in a process of its own.

    Args:
        subject: the bundle.
        runs: how many calls.
        waiting: the process. Host steps run in NumPy there, as in the verification.

    Raises:
        EngineError: the bundle does not run there.
    """
    try:
        return measure_alone(subject, runs, waiting)
    except EngineError as error:
        raise EngineError(f"the bundle does not run on its own: {error}") from error


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
