"""A case as the planner reads it, and as the checks read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

import onnx_ir as ir

from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.partition import segments
from deploy.partition.segments import partition
from deploy.placement import read_graph
from deploy.placement.operator_graph import OperatorGraph
from tests.cutsuite.engine import Engine
from tests.cutsuite.reading import Reading, read
from tests.cutsuite.usable import Model, Tensors

Form = Literal["written", "folded", "dynamic"]


@dataclass(frozen=True)
class Whole:
    """A model in one form.

    Attributes:
        model: the case's.
        form: ``written`` as the file has it, ``folded`` as a user's model is, or folded with
            ``dynamic`` sizes.
        exported: the file.
        graph: what the planner reads.
        reading: the same graph, read from ONNX alone.
        runs: inputs, and what the whole gives for them in this form.
    """

    model: Model
    form: Form
    exported: Exported
    graph: OperatorGraph
    reading: Reading
    runs: tuple[tuple[Tensors, Tensors], ...]

    @property
    def half(self) -> bool:
        """Whether some tensors are fp16, which a border rounds once more."""
        return self.model.half


def forms(model: Model) -> list[Form]:
    """The forms that a model has."""
    plain: list[Form] = ["written", "folded"]
    return [*plain, "dynamic"] if model.dynamic else plain


def read_whole(model: Model, form: Form, folder: Path) -> Whole:
    """Read a model in one form.

    Raises:
        DeployError: see ``read_operator_graph``.
    """
    exported = model.dynamic if form == "dynamic" and model.dynamic else model.exported
    with loading(form):
        graph = read_graph.read_operator_graph(exported)
        runs = model.runs if form == "dynamic" else model.runs[:1]
        if form != "written":
            (segment,) = partition(exported, [], folder / "whole").segments
            whole = Engine(segment.onnx)
            runs = tuple((inputs, whole(inputs)) for inputs, _ in runs)
    loaded = load_graph(exported, fold=form != "written")
    reading = read(ir.serde.serialize_model(loaded))
    return Whole(model, form, exported, graph, reading, runs)


@contextmanager
def loading(form: Form) -> Iterator[None]:
    """Load graphs in this form; folding takes away much of what could be divided."""
    with ExitStack() as stack:
        if form == "written":
            for module in (read_graph, segments):
                unfolded = mock.patch.object(
                    module, "load_graph", lambda exported, **_: load_graph(exported)
                )
                stack.enter_context(unfolded)
        yield
