"""The models of more than one node that come with the onnx package, as tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.cutsuite.cases import Case, backend_cases
from tests.parsersuite.outcome import Task


def packaged_tasks(folder: Path, *, build: bool = True) -> Iterator[Task]:
    """Write each model, and say what sizes and values its inputs have."""
    for case in backend_cases():
        if len(case.model().graph.node) > 1:
            yield task_of(case, folder, build=build)


def task_of(case: Case, folder: Path, *, build: bool = True) -> Task:
    """A case as a task; its file is written into a folder of its own."""
    own = folder / case.name
    own.mkdir(parents=True)
    path = case.write(own)
    graph = case.model().graph
    weights = {weight.name for weight in graph.initializer}
    names = [value.name for value in graph.input if value.name not in weights]
    given = dict(zip(names, case.inputs()[0], strict=True))
    arrays = {name: np.asarray(v) for name, v in given.items() if not isinstance(v, list)}
    whole = {name: v for name, v in arrays.items() if v.dtype.kind in "iu"}
    return Task(
        case.name,
        str(path),
        shapes={name: array.shape for name, array in arrays.items()},
        values={name: tuple(map(int, array.ravel())) for name, array in whole.items()},
        build=build,
    )
