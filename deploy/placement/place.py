"""A segment -> smaller ones, each for the first preferred engine that takes it, tried here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from backends.contract import ConversionError, Segment, Tensors
from deploy.graph.exported import Exported
from deploy.placement.answers import Refusals, ask_engine, engine_answers
from deploy.placement.inner_reference import InnerReference
from deploy.placement.narrowing import FailingNodes, SpentError, failing_nodes
from deploy.placement.operator_graph import OperatorGraph
from deploy.placement.part_trial import (
    PartTrial,
    PlacementTask,
    Values,
    error_in_graph,
    with_inner,
)
from deploy.placement.plan import EngineAnswers, PlacementPlan, PlanLimits, Region
from deploy.placement.planner import plan_placement
from deploy.placement.read_graph import read_operator_graph, whole_file
from deploy.placement.split import chain_names, region_cuts, split_segment
from deploy.recipe.schema import BackendRecipe

Convert = Callable[[Segment, BackendRecipe, Values, Path], None]
"""Convert and verify a segment on the reference's values, in a new folder.

It raises ConversionError where that fails.
"""


@dataclass(frozen=True)
class Learnt:
    """What is known of a segment and its engines before it is planned.

    Attributes:
        refused: the refusals of each engine, in the order of preference: its own word, and what
            trials have shown.
        tried: the nodes of each engine that trials have refused, by their first tensors.
        notes: what a reader has to know.
        trials: conversions that were tried.
        complete: whether no search ended at its bound.
    """

    refused: tuple[Refusals, ...]
    tried: tuple[Sequence[str], ...]
    notes: tuple[str, ...] = ()
    trials: int = 0
    complete: bool = True


@dataclass(frozen=True)
class PlacedSegment:
    """A segment after its division.

    Attributes:
        whole: the segment as it was.
        segments: the smaller ones, in an order in which they can run.
        plan: of its graph; a region for each of ``segments``.
        graph: the planner's.
        tensors: the name in the graph of each tensor between them, by its name in the chain.
        inner: computes the reference's values of these; None where there are none.
        learnt: what is known of the engines.
    """

    whole: Segment
    segments: tuple[Segment, ...]
    plan: PlacementPlan
    graph: OperatorGraph
    tensors: Mapping[str, str]
    inner: InnerReference | None
    learnt: Learnt


def ask_engines(task: PlacementTask) -> Learnt:
    """What the engines say of a segment themselves; slow."""
    graph = read_operator_graph(whole_file(task.segment))
    words = [ask_engine(graph, task.segment, engine) for engine in task.engines]
    notes = tuple(word.note for word in words[:-1] if word.note)  # the last gets what is left
    return Learnt(tuple(word.refused for word in words), ((),) * len(words), notes)


def place_segment(
    task: PlacementTask, learnt: Learnt, values: Tensors, convert: Convert | None
) -> PlacedSegment:
    """Divide a segment, try the parts, and divide it again without the nodes that failed.

    Args:
        task: what to divide.
        learnt: what is known already.
        values: the reference's values of its inputs and outputs.
        convert: tries a part; None plans alone.

    Raises:
        PlacementError: no engine takes a node.
        DeployError: the reference's engine cannot run the segment.
    """
    return _Placer(task, learnt, values, convert).run()


@dataclass
class _Placer:
    task: PlacementTask
    learnt: Learnt
    values: Tensors
    convert: Convert | None
    exported: Exported = field(init=False)
    graph: OperatorGraph = field(init=False)
    good: set[object] = field(default_factory=set)
    """Engines and nodes of the regions that were tried with success."""
    folders: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.exported = whole_file(self.task.segment)
        self.graph = read_operator_graph(self.exported)
        if self.task.whole:
            everything = (tuple(range(len(self.graph.nodes))),)
            self.graph = replace(self.graph, together=everything)

    @property
    def tries(self) -> Path:
        """The folder of what is needed for a trial alone."""
        return self.task.out / "tries"

    def run(self) -> PlacedSegment:
        while True:
            answers = self._answers()
            plan = plan_placement(self.graph, answers, self._limits())
            placed = self._split(plan)
            if self.convert is None or not self._learn(placed, answers):
                shutil.rmtree(self.tries, ignore_errors=True)
                return replace(placed, learnt=self.learnt)

    def _limits(self) -> PlanLimits:
        settings = self.task.settings
        return PlanLimits(settings.min_nodes, settings.max_segments, settings.min_macs_per_byte)

    def _answers(self) -> list[EngineAnswers]:
        engines, refused = self.task.engines, self.learnt.refused
        declined = self.task.declined or ({},) * len(engines)
        return [
            engine_answers(self.graph, engine.name, *words)
            for engine, *words in zip(engines, refused, declined, strict=True)
        ]

    def _split(self, plan: PlacementPlan) -> PlacedSegment:
        task = self.task
        if len(plan.regions) < 2:
            return PlacedSegment(
                task.segment, (task.segment,), plan, self.graph, {}, None, self.learnt
            )
        out = task.out / f"plan{next(self.folders)}"
        names = chain_names(self.graph, plan, task.segment.name, task.taken)
        segments = [task.names(number) for number in range(len(plan.regions))]
        cuts = list(region_cuts(self.graph, plan, segments, names))
        outputs = {spec.name for spec in task.segment.outputs}
        tensors = {
            name: self.graph.tensors[number].name
            for number, name in names.items()
            if name not in outputs
        }
        inner = self._inner_reference(tensors, out)
        values = {**self.values, **inner(self.values)} if inner else self.values
        parts = split_segment(self.exported, cuts, out, values)
        return PlacedSegment(task.segment, parts, plan, self.graph, tensors, inner, self.learnt)

    def _inner_reference(self, tensors: Mapping[str, str], out: Path) -> InnerReference | None:
        engine = self.task.settings.reference
        assert engine is not None, "validated"
        if not tensors or not self.values:
            return None
        return InnerReference(self.task.segment, tensors, engine, out / "reference")

    def _learn(self, placed: PlacedSegment, answers: Sequence[EngineAnswers]) -> bool:
        """Try the regions that another engine could have; whether one has failed."""
        values = with_inner(self.values, placed.inner)
        failed = False
        for region, segment in zip(placed.plan.regions, placed.segments, strict=True):
            key = (region.engine, region.nodes)
            is_last = region.engine == len(self.task.engines) - 1
            on_device = self.task.engines[region.engine].build == "device"  # which tries it
            if key in self.good or is_last or on_device:
                continue
            error = self._try(segment, region.engine, values)
            if error is None:
                self.good.add(key)
                continue
            failed = True
            in_graph = error_in_graph(error, placed.tensors)
            found = self._narrow(answers[region.engine], region, in_graph)
            self._remember(region.engine, found)
        return failed

    def _try(self, segment: Segment, rank: int, values: Values) -> ConversionError | None:
        assert self.convert is not None, "called where it is there"
        self.learnt = replace(self.learnt, trials=self.learnt.trials + 1)
        folder = self.tries / f"{next(self.folders)}" / segment.name
        try:
            self.convert(segment, self.task.engines[rank], values, folder)
        except ConversionError as error:
            return error
        return None

    def _narrow(
        self, answers: EngineAnswers, region: Region, error: ConversionError
    ) -> FailingNodes:
        parts = PartTrial(
            self.task, self.exported, self.graph, self.values, self._try_or_stop, self.tries
        )

        def try_part(nodes: Sequence[int], ends: Sequence[int]) -> ConversionError | None:
            return parts.run(region.engine, nodes, ends)

        return failing_nodes(self.graph, answers, region.nodes, error, try_part)

    def _try_or_stop(self, segment: Segment, rank: int, values: Values) -> ConversionError | None:
        if self.learnt.trials >= self.task.settings.tries:
            raise SpentError
        return self._try(segment, rank, values)

    def _remember(self, rank: int, found: FailingNodes) -> None:
        reasons = {self.graph.nodes[node].output: why for node, why in found.reasons.items()}
        refused, tried = list(self.learnt.refused), list(self.learnt.tried)
        refused[rank] = {**refused[rank], **reasons}
        tried[rank] = [*tried[rank], *reasons]
        self.learnt = replace(
            self.learnt,
            refused=tuple(refused),
            tried=tuple(tried),
            complete=self.learnt.complete and found.complete,
        )
