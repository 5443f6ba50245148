"""The automatic partition of a chain: its segments divided between the preferred engines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backends.acceptance import AcceptanceRule
from backends.codec import from_json, to_json
from backends.contract import Segment, Tensors
from backends.onnx.quantised import is_quantised
from backends.registry import about, package
from deploy.convert import cast_precision, checked_options, parsed_options
from deploy.export.fingerprint import CacheKey, hash_files, package_code, project_code, versions
from deploy.pipeline.agreement import large_floors
from deploy.pipeline.cache_store import CacheStore
from deploy.pipeline.cached_stages import convert_cached, hash_sample
from deploy.pipeline.chain_plan import ChainPlan
from deploy.placement.answers import Refusals
from deploy.placement.inner_reference import InnerReference
from deploy.placement.part_trial import PlacementTask, Values
from deploy.placement.place import Convert, Learnt, PlacedSegment, ask_engines, place_segment
from deploy.placement.record import PlacementRecord
from deploy.placement.summary import placement_record
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.schema import BackendRecipe, Recipe

_LEARNT = "learnt.json"
_TRIAL_BYTES = 4 << 30  # of conversions that are tried, where there is no cache
_WHOLE_MODEL = "model"  # the segment of a model that is not cut


_Result = tuple[PlacedSegment, bool]
"""A divided segment, and whether an earlier run has tried everything already."""


@dataclass(frozen=True)
class PlacedChain:
    """A chain whose segments were divided.

    Attributes:
        recipe: with the engine of each segment.
        plan: with the smaller segments.
        placed: the segments that were divided.
        record: what is told of it.
    """

    recipe: Recipe
    plan: ChainPlan
    placed: tuple[PlacedSegment, ...]
    record: PlacementRecord

    @property
    def parts(self) -> tuple[InnerReference, ...]:
        """What computes the reference's values of the tensors between the smaller segments."""
        return tuple(item.inner for item in self.placed if item.inner is not None)


def place_chain(
    recipe: Recipe,
    plan: ChainPlan,
    values: Tensors,
    work: Path,
    cache: CacheStore | None,
    rule: AcceptanceRule,
    show: Callable[[str], None] = lambda activity: None,
) -> PlacedChain:
    """Divide the segments of a chain, and try each part in its engine.

    Segments with a backend of their own stay as they are, and segments that a host step calls stay
    whole.

    Args:
        recipe: with ``partition.auto``.
        plan: of the chain.
        values: the reference's value of each of its tensors.
        work: the work folder; its folder of segments gets the smaller ones.
        cache: keeps conversions and what was learnt, if it is on.
        rule: what counts as agreement.
        show: tells what is being done.

    Raises:
        DeployError: a segment cannot be divided between the engines.
    """
    trials = trial_cache(cache, work)

    def place(task: PlacementTask) -> _Result:
        show(f"dividing '{task.segment.name}'")
        convert = trial_of(recipe, task.segment, trials, rule, show)
        return _placed(cache, task, values, convert)

    return _place_chain(recipe, plan, work, place)


def trial_cache(cache: CacheStore | None, work: Path) -> CacheStore:
    """The cache, or one for this run alone: what was tried is converted once."""
    return cache or CacheStore(work / WorkFile.PLACEMENT / "cache", _TRIAL_BYTES)


def plan_chain(recipe: Recipe, plan: ChainPlan, work: Path) -> PlacedChain:
    """Divide the segments of a chain by the engines' own word; nothing is tried.

    Args:
        recipe: with ``partition.auto``.
        plan: of the chain.
        work: the folder that gets files; its folder of segments has those of the plan.

    Raises:
        DeployError: a segment cannot be divided between the engines.
    """
    return _place_chain(
        recipe, plan, work, lambda task: (place_segment(task, ask_engines(task), {}, None), False)
    )


def place_again(
    before: PlacedChain,
    declined: Mapping[str, tuple[Refusals, ...]],
    base: ChainPlan,
    values: Tensors,
    work: Path,
    convert: Callable[[Segment], Convert],
) -> PlacedChain:
    """Divide the segments of a chain otherwise, with what is known of the engines by now.

    Args:
        before: the chain as it was divided.
        declined: for each segment that was divided and each engine, the nodes that it shall not
            get although it takes them, and why.
        base: the plan of the chain before it was divided.
        values: the reference's value of each tensor of that.
        work: a new folder; its folder of segments gets the smaller ones.
        convert: tries the parts of a segment.

    Raises:
        DeployError: a segment cannot be divided so.
    """
    learnt = {item.whole.name: item.learnt for item in before.placed}

    def place(task: PlacementTask) -> _Result:
        name = task.segment.name
        other = replace(task, declined=declined.get(name, ()))
        return place_segment(other, learnt[name], values, convert(task.segment)), False

    chain = {
        name: backend
        for name, backend in before.recipe.chain.items()
        if name in {segment.name for segment in base.partition.segments} - learnt.keys()
    }
    return _place_chain(replace(before.recipe, chain=chain), base, work, place)


def _place_chain(
    recipe: Recipe, plan: ChainPlan, work: Path, place: Callable[[PlacementTask], _Result]
) -> PlacedChain:
    started = time.perf_counter()
    taken = {spec.name for s in plan.partition.segments for spec in (*s.inputs, *s.outputs)}
    taken |= {spec.name for step in plan.host for spec in (*step.inputs, *step.outputs)}
    placed: list[PlacedSegment] = []
    remembered = True
    for task in _tasks(recipe, plan, taken, work / WorkFile.PLACEMENT):
        result, was_known = place(task)
        taken |= result.tensors.keys()
        placed.append(result)
        remembered = remembered and was_known
    refined = _with_segments(recipe, plan, placed, work)
    seconds = time.perf_counter() - started
    record = placement_record(recipe.partition.prefer, placed, seconds, remembered)
    return PlacedChain(*refined, tuple(placed), record)


def _tasks(
    recipe: Recipe,
    plan: ChainPlan,
    taken: set[str],
    folder: Path,
) -> Iterator[PlacementTask]:
    auto = recipe.partition.auto
    assert auto is not None, "called where it is there"
    segments = plan.partition.segments
    called = {name for step in plan.host for name in step.calls}
    steps = {*(segment.name for segment in segments), *(step.name for step in plan.host)}
    for segment in segments:
        if segment.name not in recipe.chain:
            name = segment.name
            yield PlacementTask(
                segment,
                recipe.partition.prefer,
                auto,
                _numbered("part" if [name] == [_WHOLE_MODEL] else f"{name}_", steps - {name}),
                taken,
                folder / name,
                name in called,
            )


def _numbered(prefix: str, others: set[str]) -> Callable[[int], str]:
    """Names of segments that no other step has."""
    while any(name.startswith(prefix) and name[len(prefix) :].isdigit() for name in others):
        prefix += "_"
    return lambda number: f"{prefix}{number}"


def trial_of(
    recipe: Recipe,
    whole: Segment,
    cache: CacheStore,
    rule: AcceptanceRule,
    show: Callable[[str], None],
) -> Convert:
    """What converts a part of a segment as the run will, on the reference's values.

    Args:
        recipe: of the run.
        whole: the segment.
        cache: keeps the conversions.
        rule: what counts as agreement.
        show: tells what is being done.
    """
    limits = replace(recipe.convert, check=True)
    quantised = is_quantised(whole.onnx)

    def convert(segment: Segment, engine: BackendRecipe, values: Values, out: Path) -> None:
        show(f"{engine.name} tries {segment.name}")
        names = frozenset(spec.name for spec in segment.outputs)
        own = replace(rule, floors={**rule.floors, **large_floors(values.floors)})
        if quantised:
            own = replace(own, quantised=own.quantised | names)
        exact = replace(engine, precision="fp32") if cast_precision(engine) != "fp32" else engine
        out.parent.mkdir(parents=True, exist_ok=True)
        convert_cached(cache, segment, exact, values.tensors, out, limits, own)

    return convert


def _placed(
    cache: CacheStore | None, task: PlacementTask, values: Tensors, convert: Convert
) -> _Result:
    """The division of a segment, and whether an earlier run has tried everything already."""
    if cache is None:
        return place_segment(task, ask_engines(task), values, convert), False
    out = task.out / "learnt"
    built: list[PlacedSegment] = []

    def build() -> None:
        built.append(place_segment(task, ask_engines(task), values, convert))
        out.mkdir()
        (out / _LEARNT).write_text(json.dumps(to_json(built[0].learnt)))

    task.out.mkdir(parents=True)
    cache.fill(_learnt_key(task, values), out, build)
    if built:
        return built[0], False
    learnt = from_json(Learnt, json.loads((out / _LEARNT).read_text()), _LEARNT)
    return place_segment(task, learnt, values, None), True


def _learnt_key(task: PlacementTask, values: Tensors) -> CacheKey:
    segment = task.segment
    files = sorted(segment.onnx.parent.glob(f"{segment.onnx.name}*"))  # the graph and its weights
    parts = {
        "segment": to_json(replace(segment, onnx=Path())) | {"onnx": None},
        "files": hash_files(files),
        "engines": [engine_key(engine) for engine in task.engines],
        "settings": asdict(task.settings),
        "whole": task.whole,
        "sample": hash_sample(segment, values),
        "project": project_code(),
    }
    names = ", ".join(engine.name for engine in task.engines)
    return CacheKey("partition", f"{segment.name} for {names}", parts)


def engine_key(engine: BackendRecipe) -> Mapping[str, object]:
    """What of an engine decides what it takes; of one that the device builds not this machine."""
    description = about(engine.name)
    is_here = engine.build == "desk"
    return {
        "name": engine.name,
        "options": dict(checked_options(engine)),
        "precision": engine.precision,
        "build": engine.build,
        "versions": versions(description.convert),
        "machine": dict(description.machine(parsed_options(engine))) if is_here else {},
        "code": package_code(package(engine.name)),
    }


def _with_segments(
    recipe: Recipe,
    plan: ChainPlan,
    placed: Sequence[PlacedSegment],
    work: Path,
) -> tuple[Recipe, ChainPlan]:
    """Recipe and plan with the smaller segments, whose files go where those of all segments are."""
    by_name = {item.whole.name: item for item in placed}
    segments: list[Segment] = []
    chain = dict(recipe.chain)
    for segment in plan.partition.segments:
        if segment.name not in by_name:
            segments.append(segment)
            continue
        item = by_name[segment.name]
        for region, part in zip(item.plan.regions, item.segments, strict=True):
            chain[part.name] = recipe.partition.prefer[region.engine]
            is_whole = part is item.whole
            segments.append(part if is_whole else moved_segment(part, work / WorkFile.SEGMENTS))
    partition = replace(plan.partition, segments=tuple(segments))
    return replace(recipe, chain=chain), replace(plan, partition=partition)


def moved_segment(segment: Segment, folder: Path) -> Segment:
    """The segment with its files, the graph and its weights, in a folder."""
    if segment.onnx.parent == folder:
        return segment
    folder.mkdir(parents=True, exist_ok=True)
    for path in segment.onnx.parent.glob(f"{segment.onnx.name}*"):
        path.replace(folder / path.name)
    return replace(segment, onnx=folder / segment.onnx.name)
