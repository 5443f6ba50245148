"""A case as the planner reads it, and as the checks read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

import onnx_ir as ir

from deploy.graph import simplification
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.partition import segments
from deploy.partition.segments import partition
from deploy.placement import read_graph
from deploy.placement.operator_graph import OperatorGraph
from tests.cutsuite.engine import FAILURES, Engine
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


class UnloadableError(Exception):
    """A form of a model that ONNX Runtime refuses, though it runs the file."""


def forms(model: Model) -> list[Form]:
    """The forms that a model has."""
    plain: list[Form] = ["written", "folded"]
    return [*plain, "dynamic"] if model.dynamic else plain


def read_whole(model: Model, form: Form, folder: Path) -> Whole:
    """Read a model in one form.

    Raises:
        DeployError: see ``read_operator_graph``.
        UnloadableError: ONNX Runtime does not load the whole in this form.
    """
    exported = model.dynamic if form == "dynamic" and model.dynamic else model.exported
    return read_exported(model, form, exported, folder)


def read_exported(model: Model, form: Form, exported: Exported, folder: Path) -> Whole:
    """Read a file of a model in one form; see ``read_whole``."""
    with loading(form):
        graph = read_graph.read_operator_graph(exported)
        runs = model.runs if form == "dynamic" else model.runs[:1]
        if form != "written":
            (segment,) = partition(exported, [], folder / "whole").segments
            runs = _runs(segment.onnx, [inputs for inputs, _ in runs])
        loaded = load_graph(exported, fold=form != "written")
    reading = read(ir.serde.serialize_model(loaded))
    return Whole(model, form, exported, graph, reading, runs)


def _runs(path: Path, inputs: Sequence[Tensors]) -> tuple[tuple[Tensors, Tensors], ...]:
    try:
        whole = Engine(path)
    except FAILURES as error:
        raise UnloadableError(str(error)) from error
    return tuple((values, whole(values)) for values in inputs)


@contextmanager
def loading(form: Form) -> Iterator[None]:
    """Load graphs in this form; folding takes away much of what could be divided.

    They are simplified in this process: none of them comes from a stranger.
    """
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(simplification, "has_digest", lambda *_: True))
        if form == "written":
            for module in (read_graph, segments):
                unfolded = mock.patch.object(
                    module, "load_graph", lambda exported, **_: load_graph(exported)
                )
                stack.enter_context(unfolded)
        yield
