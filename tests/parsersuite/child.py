"""The process that asks a library: ``python -m tests.parsersuite.child MODULE TASKS OUT SECONDS``.

It writes the name of each task before it starts, and a line with the outcome behind it. A task that
takes longer than SECONDS ends the process by SIGALRM, also inside the library.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from backends.codec import from_json, to_json
from backends.contract import ConversionError, Segment
from backends.nvidia.bindings import Bindings, bindings_of, sizes_of
from backends.nvidia.refusals import reason_of, refused_node
from backends.process.child import end_with_parent
from backends.process.large_stack import call_with_large_stack
from tests.parsersuite.outcome import NetworkTensor, Outcome, Refusal, Task
from tests.parsersuite.subgraphs import listed, parses_alone

DOUBLE = "tensorrt"
REAL = "tensorrt_rtx_bindings"


def main(module: str, tasks: Path, out: Path, seconds: int) -> None:
    """Answer every task of a file."""
    library = Library(module)
    with out.open("a") as lines:
        for line in tasks.read_text().splitlines():
            task = from_json(Task, json.loads(line), "task")
            print(json.dumps({"start": task.name}), file=lines, flush=True)
            signal.alarm(seconds)
            outcome = library.outcome(task)
            signal.alarm(0)
            print(json.dumps(to_json(outcome)), file=lines, flush=True)


class Library:
    """The real library, or its double."""

    def __init__(self, module: str) -> None:
        self._real = module == REAL
        self._bindings = _bindings(module)
        self._messages = self._bindings.messages
        self._builder: Any = self._bindings.builder(self._bindings.logger)

    def outcome(self, task: Task) -> Outcome:
        """Parse a model, and build it where that is asked and it parses."""
        self._messages.take()
        start = time.monotonic()
        outcome = self._outcome(task)
        return replace(outcome, seconds=round(time.monotonic() - start, 3))

    def _outcome(self, task: Task) -> Outcome:
        network, parser = self._parser()
        if not parser.parse_from_file(task.model):
            refused = Outcome(task.name, "refused by the parser", self._messages.take())
            refused = replace(refused, refusals=tuple(_refusals(parser, task)))
            return self._with_subgraphs(refused, Path(task.model))
        parsed = Outcome(
            task.name,
            "parsed",
            inputs=tuple(_tensors(map(network.get_input, range(network.num_inputs)))),
            outputs=tuple(_tensors(map(network.get_output, range(network.num_outputs)))),
            layers=_layers(network),
        )
        if not task.build:
            return parsed
        return _convert(parsed, task) if task.inputs else self._build(parsed, task, network)

    def _parser(self) -> tuple[Any, Any]:
        network = self._builder.create_network(self._bindings.typed_network)
        return network, self._bindings.parser(network, self._bindings.logger)

    def _with_subgraphs(self, outcome: Outcome, path: Path) -> Outcome:
        """What the parser takes of a graph that it refuses."""
        model = onnx.load(path, load_external_data=False)
        outcome = replace(outcome, nodes=len(model.graph.node))
        if not self._real:  # the double has no such methods
            return outcome
        groups = listed(self._bindings, self._builder, path)
        alone = [parses_alone(self._bindings, self._builder, model, nodes) for nodes in groups]
        taken = [nodes for nodes, parses in zip(groups, alone, strict=True) if parses]
        return replace(
            outcome,
            listed=sum(map(len, groups)),
            groups=len(groups),
            taken=sum(map(len, taken)),
            groups_taken=len(taken),
        )

    def _build(self, parsed: Outcome, task: Task, network: Any) -> Outcome:
        config = self._builder.create_builder_config()
        profile = self._builder.create_optimization_profile()
        for tensor in parsed.inputs:
            if tensor.decides_shapes and tensor.name in task.values:
                value = list(task.values[tensor.name])
                profile.set_shape_input(tensor.name, value, value, value)
            if -1 in tensor.shape:
                shape = self._bindings.dims(task.shapes[tensor.name])
                profile.set_shape(tensor.name, shape, shape, shape)
        config.add_optimization_profile(profile)
        plan = self._builder.build_serialized_network(network, config)
        if plan is None:
            return replace(parsed, verdict="refused by the builder", why=self._messages.take())
        return replace(parsed, verdict="built", size=plan.nbytes)


def _bindings(module: str) -> Bindings:
    if module == REAL:
        # those that the converter uses: the library keeps the first logger of a process
        from backends.tensorrt_rtx.engine import BINDINGS

        return BINDINGS
    from tests.simulator import activate

    activate()
    return bindings_of(importlib.import_module(module), module)


def _convert(parsed: Outcome, task: Task) -> Outcome:
    """Build it by the project's own converter."""
    from backends.tensorrt_rtx import Options
    from backends.tensorrt_rtx.convert import convert

    segment = Segment(task.name, Path(task.model), task.inputs, task.outputs)
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifact = convert(segment, Options(), Path(folder))
        except ConversionError as error:
            refused = "builder" if "builds no plan" in str(error) else "converter"
            return replace(parsed, verdict=f"refused by the {refused}", why=str(error))
        size = sum(Path(folder, name).stat().st_size for name in artifact.files)
    return replace(parsed, verdict="built", size=size)


def _layers(network: Any) -> dict[str, int]:
    kinds = (network.get_layer(number).type.name for number in range(network.num_layers))
    return dict(Counter(kinds))


def _refusals(parser: Any, task: Task) -> Iterator[Refusal]:
    graph = onnx.load(task.model, load_external_data=False).graph
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        told = refused_node(error, graph)
        operator = error.node_operator() or told.operator  # of a body's node its own
        yield Refusal(error.code().name, error.node(), told.node, operator, reason_of(error))


def _tensors(tensors: Iterable[Any]) -> Iterator[NetworkTensor]:
    for tensor in tensors:
        yield NetworkTensor(
            tensor.name, tensor.dtype.name, sizes_of(tensor.shape), tensor.is_shape_tensor
        )


if __name__ == "__main__":
    end_with_parent()
    library, tasks, lines, limit = sys.argv[1:]
    call_with_large_stack(lambda: main(library, Path(tasks), Path(lines), int(limit)))
