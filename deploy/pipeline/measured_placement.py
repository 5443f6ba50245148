"""The automatic partition by measured latency: borders that do not pay on this machine are dropped.

The candidates are the planned chain, the same chain with fewer of the regions that gain least, and
each engine alone that takes everything. Whole chains are measured, in turns: what parts of a chain
take does not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from backends.contract import ConversionError
from deploy.pipeline.placement import PlacedChain, moved_segment
from deploy.placement.answers import Refusals
from deploy.placement.place import PlacedSegment
from deploy.placement.planner import PlacementError
from deploy.placement.record import MeasuredPlan
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.schema import RecipeError
from deploy.runtime.benchmark.comparison import Comparison, Contender, compare
from deploy.runtime.benchmark.worker import Subject
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import MANIFEST
from deploy.runtime.vision.compiling import without_compiling

_ROUNDS, _SECONDS = 9, 3.0
_NOT_WORTH = "measured: its borders take longer than it saves on this machine"

Declined = Mapping[str, tuple[Refusals, ...]]
"""For each segment that was divided and each engine, the nodes that it shall not get, and why."""


@dataclass(frozen=True)
class Candidate:
    """A way to divide a chain.

    Attributes:
        name: for people.
        declined: what engines do not get.
    """

    name: str
    declined: Declined


@dataclass(frozen=True)
class _Movable:
    """A region that a less preferred engine takes too.

    Attributes:
        item: its segment.
        nodes: the first tensor of each of its nodes.
        macs: its multiply-adds.
        target: the rank of the engine that would get it: of a neighbour, where one takes it.
    """

    item: PlacedSegment
    nodes: tuple[str, ...]
    macs: int
    target: int


def candidates(chain: PlacedChain) -> Iterator[Candidate]:
    """The ways to divide a chain that are measured beside it.

    Of its regions that a less preferred engine takes too, the half that computes most stays, then a
    quarter of them, and so on.
    """
    engines = [engine.name for engine in chain.recipe.partition.prefer]
    movable = sorted(_movable(chain), key=lambda region: -region.macs)
    kept = len(movable)
    while kept := kept // 2:
        dropped = movable[kept:]
        name = f"without the {len(dropped)} smallest of {len(movable)}"
        yield Candidate(name, _without(chain, dropped))
    for rank, engine in enumerate(engines):
        used = {region.engine for item in chain.placed for region in item.plan.regions}
        if used != {rank} and not any(item.learnt.refused[rank] for item in chain.placed):
            yield Candidate(f"{engine} alone", _alone(chain, rank))


def _movable(chain: PlacedChain) -> Iterator[_Movable]:
    for item in chain.placed:
        for number, region in enumerate(item.plan.regions):
            nodes = tuple(item.graph.nodes[node].output for node in region.nodes)
            beside = {
                item.plan.regions[other].engine
                for border in item.plan.borders
                for other in (border.source, border.target)
                if number in (border.source, border.target)
            }
            takers = [
                rank
                for rank in range(region.engine + 1, len(item.learnt.refused))
                if item.learnt.refused[rank].keys().isdisjoint(nodes)
            ]
            if takers:
                target = next((rank for rank in takers if rank in beside), takers[-1])
                macs = sum(item.graph.nodes[node].macs for node in region.nodes)
                yield _Movable(item, nodes, macs, target)


def _without(chain: PlacedChain, dropped: Sequence[_Movable]) -> Declined:
    return {
        item.whole.name: tuple(
            {
                name: _NOT_WORTH
                for region in dropped
                if region.item is item and region.target != rank
                for name in region.nodes
            }
            for rank in range(len(item.learnt.refused))
        )
        for item in chain.placed
    }


def _alone(chain: PlacedChain, rank: int) -> Declined:
    return {
        item.whole.name: tuple(
            {} if other == rank else {node.output: _NOT_WORTH for node in item.graph.nodes}
            for other in range(len(item.learnt.refused))
        )
        for item in chain.placed
    }


def fastest_chain(
    chain: PlacedChain,
    again: Callable[[Declined, Path], PlacedChain],
    write_bundle: Callable[[PlacedChain, Path], None],
    work: Path,
    show: Callable[[str], None],
) -> PlacedChain:
    """The candidate that is not slower than any other, with as much on preferred engines as can be.

    Args:
        chain: as it was planned.
        again: divides the chain otherwise, in a new folder.
        write_bundle: converts the segments of a candidate and writes its bundle into a folder that
            is there.
        work: the work folder; its folder of segments gets those of the result.
        show: tells what is being done.

    Raises:
        RecipeError: an engine is built on the device, where nothing can be measured now.
    """
    if deferred := [e.name for e in chain.recipe.partition.prefer if e.build == "device"]:
        raise RecipeError(
            f"partition.auto.measure=true with {deferred[0]}",
            expected="engines that this machine runs",
            got="one that is built on the device",
            do="Leave measure out here, and compare on the device: python -m deploy.runtime tune.",
        )
    folder = work / WorkFile.PLACEMENT / "measured"
    chains = {"as planned": chain}
    shapes = {_shape(chain)}
    for number, candidate in zip(count(), candidates(chain)):
        try:
            other = again(candidate.declined, folder / str(number))
        except (PlacementError, ConversionError):
            continue  # an engine that takes all of it by its own word, and does not
        if _shape(other) not in shapes:
            shapes.add(_shape(other))
            chains[candidate.name] = other
    if len(chains) == 1:
        return _settled(chain, (), work)
    contenders: dict[str, Contender] = {}
    for name, one in chains.items():
        show(f"converting '{name}' to be measured")
        bundle = folder / f"bundle{len(contenders)}"
        bundle.mkdir(parents=True)
        write_bundle(one, bundle)
        contenders[name] = Contender(Subject(str(bundle)), hash_file(bundle / MANIFEST).sha256)

    def on_round(number: int) -> None:
        show(f"{len(contenders)} chains measured in turns, round {number} of {_ROUNDS}")

    with without_compiling():
        comparison = compare(contenders, _ROUNDS, _SECONDS, on_round)
    chosen = chosen_name(comparison, list(chains))
    plans = (_measured_plan(comparison, name, one, chosen) for name, one in chains.items())
    return _settled(chains[chosen], plans, work)


def _shape(chain: PlacedChain) -> object:
    """What tells two ways to divide a chain apart."""
    return tuple(
        (region.engine, region.nodes) for item in chain.placed for region in item.plan.regions
    )


def chosen_name(comparison: Comparison, names: Sequence[str]) -> str:
    """The first of those that cannot be told from the fastest; the planned chain comes first."""
    if comparison.ranking is None:
        return next((name for name in names if name in comparison.measurements), names[0])
    return next(name for name in names if name in comparison.ranking.leaders)


def _measured_plan(
    comparison: Comparison, name: str, chain: PlacedChain, chosen: str
) -> MeasuredPlan:
    measurement = comparison.measurements.get(name)
    latency = measurement.total.p50 if measurement is not None else None
    return MeasuredPlan(name, len(chain.record.regions), latency, name == chosen)


def _settled(chain: PlacedChain, measured: Iterable[MeasuredPlan], work: Path) -> PlacedChain:
    """The chain with its segments where those of a run are."""
    partition = chain.plan.partition
    names = {part.name for item in chain.placed for part in item.segments}
    segments = tuple(
        moved_segment(segment, work / WorkFile.SEGMENTS) if segment.name in names else segment
        for segment in partition.segments
    )
    plan = replace(chain.plan, partition=replace(partition, segments=segments))
    return replace(chain, plan=plan, record=replace(chain.record, measured=tuple(measured)))
