"""One plan: what holds of it, and its chain against the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from backends.contract import Segment
from deploy.partition.cut_points import Cut
from deploy.placement.plan import PlacementPlan
from deploy.placement.planner import PlacementError, plan_placement
from deploy.placement.split import chain_names, region_cuts, split_segment
from tests.cutsuite.check import TOLERANCE, MismatchError, run
from tests.cutsuite.reading import read
from tests.cutsuite.values import Tensor
from tests.placementsuite.invariants import Checked, broken
from tests.placementsuite.masks import Mask
from tests.placementsuite.whole import Whole, loading

_CROSSING = ("bfloat16", "string", "float8", "float4", "int4", "int2", "complex")


@dataclass(frozen=True)
class Outcome:
    """What became of a plan.

    Attributes:
        verdict: ``equal``, ``within`` the tolerance, ``refused`` since no engine takes some node,
            or ``failed``.
        regions: how many.
        borders: how many tensors between them.
        gap: the largest absolute difference.
        why: of a failure.
    """

    verdict: Literal["equal", "within", "refused", "failed"]
    regions: int = 0
    borders: int = 0
    gap: float = 0.0
    why: str = ""


def check(whole: Whole, mask: Mask, folder: Path) -> Outcome:
    """Plan, divide and run."""
    try:
        plan = plan_placement(whole.graph, mask.engines, mask.limits)
    except PlacementError as error:
        return _refused(mask, error)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this plan's failure
        return Outcome("failed", why=f"{type(error).__name__}: {error}")
    size = len(plan.regions), len(plan.borders)
    try:
        _check_plan(whole, mask, plan)
        return _compare(whole, split(whole, plan, folder), size)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this plan's failure
        return Outcome("failed", *size, why=f"{type(error).__name__}: {error}")


def split(whole: Whole, plan: PlacementPlan, folder: Path) -> tuple[Segment, ...]:
    """The segment of each region, with exactly the nodes of it.

    Raises:
        MismatchError: a file has other nodes.
    """
    graph = whole.graph
    names = [f"part{number}" for number in range(len(plan.regions))]
    taken = [*whole.reading.inputs, *whole.reading.outputs]
    tensors = chain_names(graph, plan, "model", taken)
    cuts = list(region_cuts(graph, plan, names, tensors))
    with loading(whole.form):
        segments = split_segment(whole.exported, cuts, folder)
    _check_files(whole, plan, cuts, segments)
    return segments


def _refused(mask: Mask, error: PlacementError) -> Outcome:
    if mask.complete:
        return Outcome("failed", why=f"an engine takes everything: {error}")
    if not str(error).startswith("none of the engines "):
        return Outcome("failed", why=f"another text: {error}")
    return Outcome("refused")


def _check_plan(whole: Whole, mask: Mask, plan: PlacementPlan) -> None:
    if plan_placement(whole.graph, mask.engines, mask.limits) != plan:
        raise MismatchError("a second plan differs")
    crossable = {name: _crosses(kind) for name, kind in whole.model.types.items()}
    faults = list(broken(Checked(whole.reading, whole.graph, mask, plan, crossable)))
    if faults:
        raise MismatchError("; ".join(faults))


def _crosses(kind: str) -> bool:
    return kind.startswith("tensor(") and not any(odd in kind for odd in _CROSSING)


def _check_files(
    whole: Whole, plan: PlacementPlan, cuts: Sequence[Cut], segments: Sequence[Segment]
) -> None:
    free = {name for node in whole.reading.free for name in whole.reading.makes[node]}
    for region, cut, segment in zip(plan.regions, cuts, segments, strict=True):
        expected = {whole.graph.nodes[node].output for node in region.nodes}
        in_graph = dict(zip(cut.outputs or cut.end, cut.end, strict=True))
        names = [
            [in_graph.get(name, name) for name in names]
            for names in read(onnx.load(segment.onnx, load_external_data=False)).makes
        ]
        found = [set(names) & free for names in names]
        if len([names for names in found if names]) != len(expected) or any(
            names and not names & expected for names in found
        ):
            raise MismatchError(f"{segment.name} has other nodes than its region")
        if whole.model.valid:
            onnx.checker.check_model(_with_shapes(segment.onnx))


def _with_shapes(path: Path) -> str:
    """The file for onnx's checker, which refuses a border whose rank depends on the data."""
    model = onnx.load(path, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.SetInParent()
    filled = path.with_name(f"{path.name}.checked")
    filled.write_bytes(model.SerializeToString())
    return str(filled)


def _compare(whole: Whole, segments: Sequence[Segment], size: tuple[int, int]) -> Outcome:
    pairs: list[tuple[Tensor, Tensor]] = []
    for inputs, expected in whole.runs:
        values = dict(inputs)
        for segment in segments:
            values |= run(segment, values)
        pairs += [(values[name], expected[name]) for name in expected]
    if not pairs:
        raise MismatchError("nothing was compared")
    gap = max(one.gap(other) for one, other in pairs)
    if all(one.same_as(other) for one, other in pairs):
        return Outcome("equal", *size)
    if whole.half and all(one.close_to(other, TOLERANCE) for one, other in pairs):
        return Outcome("within", *size, gap)
    return Outcome("failed", *size, gap, f"the outputs differ by up to {gap:g}")
