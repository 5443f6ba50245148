"""The real answers of the engines that can be asked on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backends.contract import Segment
from backends.registry import about
from backends.registry import names as backend_names
from deploy.partition.segments import partition
from deploy.placement.answers import ask_engine, engine_answers
from deploy.placement.plan import PlanLimits
from deploy.placement.read_graph import whole_file
from deploy.recipe.schema import BackendRecipe
from tests.cutsuite.usable import Model
from tests.placementsuite.masks import Mask
from tests.placementsuite.whole import Whole, loading, read_exported

_LAST = "onnxruntime"  # which runs all of these models
LIMITS = PlanLimits(min_nodes=1, max_segments=0, min_macs_per_byte=0)


def askable() -> list[str]:
    """The engines that convert on this machine, the last one after all others."""
    able = [n for n in backend_names() if about(n).support and not about(n).conversion_obstacle()]
    return [*(name for name in able if name != _LAST), _LAST]


def read_answering(model: Model, folder: Path) -> tuple[Whole, Segment]:
    """A model as the segment that engines are asked of, as it is in a user's run.

    Raises:
        DeployError: see ``read_operator_graph``.
        UnloadableError: ONNX Runtime does not load the segment.
    """
    with loading("folded"):
        (segment,) = partition(model.exported, [], folder / "asked").segments
    return read_exported(model, "folded", whole_file(segment), folder), segment


def real_masks(whole: Whole, segment: Segment) -> Iterator[tuple[str, Mask]]:
    """A mask for each engine as the preferred one, and one for all of them in turn."""
    names = askable()
    words = {name: ask_engine(whole.graph, segment, BackendRecipe(name)) for name in names}
    answers = {
        name: engine_answers(whole.graph, name, word.refused, {}) for name, word in words.items()
    }
    last = answers[_LAST]
    complete = not last.refused and not last.borders
    for name in names[:-1]:
        yield name, Mask((answers[name], last), LIMITS, complete)
    yield "all", Mask(tuple(answers.values()), LIMITS, complete)
