"""One cut, made in each form, and its chain against the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

import onnx

from backends.contract import Segment, Specs
from deploy.graph.loading import load_graph
from deploy.partition import segments
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import Partition, partition
from tests.cutsuite.engine import Engine
from tests.cutsuite.plans import Plan
from tests.cutsuite.usable import Model, Tensors
from tests.cutsuite.values import Tensor

TOLERANCE = 1e-3  # of fp16 models alone
Form = Literal["explicit", "across", "dynamic"]


class MismatchError(Exception):
    """The chain is not the whole."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cut.

    Attributes:
        verdict: ``equal``, ``within`` the tolerance, ``refused`` as it had to be, or ``failed``.
        gap: the largest absolute difference.
        why: of a failure.
    """

    verdict: Literal["equal", "within", "refused", "failed"]
    gap: float = 0.0
    why: str = ""


def check(model: Model, plan: Plan, folder: Path) -> Outcome:
    """Cut in each form; the worst outcome."""
    outcomes = [_check(model, plan, form, folder / form) for form in forms(model)]
    order = ("equal", "within", "refused", "failed")
    return max(outcomes, key=lambda outcome: (order.index(outcome.verdict), outcome.gap))


def check_at_once(model: Model, several: Sequence[Plan], folder: Path) -> Outcome:
    """Cut at several places at once, each behind the one before: a chain of many parts."""
    borders = [each.border for each in several]
    try:
        with _without_folding():
            cutting = partition(model.exported, [], folder / "many", across=borders)
        if len(cutting.segments) != len(borders) + 1:
            raise MismatchError(f"{len(cutting.segments)} parts for {len(borders)} cuts")
        return _compare(model, cutting, "across")
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this chain's failure
        return Outcome("failed", why=f"at once: {type(error).__name__}: {error}")


def forms(model: Model) -> list[Form]:
    """The ways to make a cut."""
    plain: list[Form] = ["explicit", "across"]
    return [*plain, "dynamic"] if model.dynamic else plain


def cut(model: Model, plan: Plan, form: Form, folder: Path) -> Partition:
    """Cut a model in one form.

    Raises:
        DeployError: see ``partition``.
    """
    with _without_folding():
        return _cut(model, plan, form, folder)


@contextmanager
def _without_folding() -> Iterator[None]:
    """The graph as the file has it: what folding makes constant is no place to cut any more."""
    with mock.patch.object(segments, "load_graph", lambda exported, **_: load_graph(exported)):
        yield


def _cut(model: Model, plan: Plan, form: Form, folder: Path) -> Partition:
    exported = model.dynamic if form == "dynamic" and model.dynamic else model.exported
    if form == "across":
        return partition(exported, [], folder, across=[plan.border], inline_bytes=0)
    first = Cut("a", list(plan.starts), list(plan.border))
    rest = Cut("b", list(plan.rest_starts), [*plan.rest_ends, *plan.loose])
    return partition(exported, [first, rest], folder)


def run(segment: Segment, values: Tensors) -> dict[str, Tensor]:
    """What a segment gives, after a look at what it promises.

    Raises:
        MismatchError: the file is not as the segment says.
    """
    engine = Engine(segment.onnx)
    _check_names(segment.name, engine.inputs, segment.inputs)
    _check_names(segment.name, engine.outputs, segment.outputs)
    found = engine(values)
    for spec in (*segment.inputs, *segment.outputs):
        value = found[spec.name] if spec.name in found else values[spec.name]
        if spec.dtype != value.dtype or not spec.accepts(value.shape):
            got = f"{value.dtype}{list(value.shape)}"
            raise MismatchError(f"'{spec.name}' of {segment.name}: its spec is {spec}, got {got}")
    return found


def _check_names(name: str, found: Iterable[str], specs: Specs) -> None:
    if list(found) != [spec.name for spec in specs]:
        raise MismatchError(f"{name} has {', '.join(found)}, and not {', '.join(map(str, specs))}")


def _check(model: Model, plan: Plan, form: Form, folder: Path) -> Outcome:
    odd = [name for name in plan.tensors if not _crosses(model.types[name])]
    try:
        cutting = cut(model, plan, form, folder)
        if odd:
            raise MismatchError(f"'{odd[0]}' crossed, and is no tensor")
        return _compare(model, cutting, form)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this cut's failure
        if isinstance(error, PartitionError) and any(
            f"'{name}' cannot cross a border" in str(error) for name in odd
        ):
            return Outcome("refused")
        return Outcome("failed", why=f"{form}: {type(error).__name__}: {error}")


def _crosses(kind: str) -> bool:
    return kind.startswith("tensor(") and kind != "tensor(string)"


def _compare(model: Model, cutting: Partition, form: Form) -> Outcome:
    if set(cutting.results) != set(model.reading.outputs):
        raise MismatchError(f"the results are {cutting.results}, not {model.reading.outputs}")
    if model.valid:
        for segment in cutting.segments:
            _check_file(segment.onnx)
    pairs = [
        (values[name], expected[name])
        for values, expected in _runs(model, cutting, form)
        for name in expected
    ]
    if not pairs:
        raise MismatchError("nothing was compared")
    gap = max(one.gap(other) for one, other in pairs)
    if all(one.same_as(other) for one, other in pairs):
        return Outcome("equal")
    if model.half and all(one.close_to(other, TOLERANCE) for one, other in pairs):
        return Outcome("within", gap)
    return Outcome("failed", gap, f"{form}: the outputs differ by up to {gap:g}")


def _check_file(path: Path) -> None:
    """Let onnx's checker look; it would refuse a border whose rank depends on the data."""
    model = onnx.load(path, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.SetInParent()
    filled = path.with_name(f"{path.name}.checked")
    filled.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(filled))


def _runs(model: Model, cutting: Partition, form: Form) -> Iterator[tuple[Tensors, Tensors]]:
    """The chain's tensors, and the whole's outputs; sizes that are fixed fit the first run."""
    for inputs, expected in model.runs if form == "dynamic" else model.runs[:1]:
        values = dict(inputs)
        for segment in cutting.segments:
            values |= run(segment, values)
        yield values, expected
