"""Trials of converted nodes on numbers: what ncnn computes, against ONNX's reference.

They run in a child process, which a node may crash or keep busy: the reference loops over the
elements of some tensors in Python. It writes a line for each node before ncnn runs it, and one for
what came of it. What it does not come to is not refused.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from backends.acceptance import TOLERANCES
from backends.contract import Array, Artifact, EngineError, Tensors, TensorSpec
from backends.conversion_files import read_artifact, write_artifact
from backends.error_metrics import compare_all, worst
from backends.ncnn.conversion.diagnosis import batch_axes
from backends.ncnn.conversion.pieces import Piece
from backends.ncnn.conversion.pnnx import AXES, BIN, MODEL, PARAM, SCRIPT, PnnxRun
from backends.ncnn.run import NcnnRunner, load
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.process.large_stack import call_with_large_stack
from backends.terminal import program_output

MAX_SECONDS = 5.0
_MAX_CRASHES = 4
_MAX_ELEMENTS = 1 << 21  # of the tensors of a node
_RESULTS = "numeric_trials.jsonl"
_CRASHED, _FAILED = "ncnn crashes on it", "ncnn cannot compute it"


def wrong_nodes(run: PnnxRun, piece: Piece, seconds: float) -> dict[int, str]:
    """The nodes that ncnn computes otherwise than ONNX's reference, or fails on.

    Args:
        run: of pnnx on the piece, without a fault.
        piece: nodes apart from each other.
        seconds: for all of them together.
    """
    artifact = Artifact("piece", "ncnn", (PARAM, BIN, AXES), piece.inputs, piece.outputs)
    (run.folder / AXES).write_text(json.dumps(batch_axes((run.folder / SCRIPT).read_text())))
    write_artifact(run.folder, artifact)
    deadline = time.monotonic() + min(seconds, MAX_SECONDS)
    results = run.folder / _RESULTS
    results.touch()
    command = module_command(__name__, str(run.folder))
    for _ in range(_MAX_CRASHES):
        left = deadline - time.monotonic()
        with (run.folder / "numeric_trials.log").open("w+") as output:
            failure = run_limited(command, Limits(left), output) if left > 0 else ""
        is_in_node = len(results.read_text().splitlines()) % 2
        if not failure.startswith("signal") or not is_in_node:
            break
        with results.open("a") as file:
            file.write(f"{json.dumps(_CRASHED)}\n")
    return dict(_refusals(results))


def _refusals(results: Path) -> Iterator[tuple[int, str]]:
    lines = _lines(results)
    for number, reason in zip(lines[::2], lines[1::2], strict=False):
        if reason:
            yield number, reason


def _lines(results: Path) -> list[Any]:
    """A number of a node and the reason why it is refused, in turn."""
    return [json.loads(line) for line in results.read_text().splitlines()]


@program_output()
def main() -> None:
    """The child process: the folder with the net and its piece."""
    end_with_parent()
    call_with_large_stack(lambda: _try(Path(sys.argv[1])))


def _try(folder: Path) -> None:
    artifact = read_artifact(folder)
    done = set(_lines(folder / _RESULTS)[::2])
    model = onnx.load(folder / MODEL)
    results_of = {spec.name for spec in artifact.outputs}
    tried = [node for node in model.graph.node if results_of.intersection(node.output)]
    nodes = [_Node.of(node, model, artifact) for node in tried]
    with load(artifact, folder) as runner, (folder / _RESULTS).open("a") as results:

        def write(value: int | str) -> None:
            results.write(f"{json.dumps(value)}\n")
            results.flush()

        for node in sorted(nodes, key=lambda item: item.elements):
            if node.number in done or node.elements > _MAX_ELEMENTS:
                continue
            samples = list(_samples(node))
            if not samples:
                continue
            write(node.number)
            verdicts = (_verdict(runner, *sample) for sample in samples)
            write(next(filter(None, verdicts), ""))


@dataclass(frozen=True)
class _Node:
    """A node of a piece."""

    number: int
    model: onnx.ModelProto
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]

    @property
    def elements(self) -> int:
        """Of its computed tensors."""
        return sum(prod(spec.typical) for spec in (*self.inputs, *self.outputs))

    @classmethod
    def of(cls, node: onnx.NodeProto, piece: onnx.ModelProto, artifact: Artifact) -> _Node:
        """A node with the constants that it needs, as a model of its own."""
        needed, nodes = set(node.input), [node]
        for other in reversed(piece.graph.node):
            if needed.intersection(other.output):
                needed.update(other.input)
                nodes.append(other)
        inputs = [spec for spec in artifact.inputs if spec.name in node.input]
        outputs = [spec for spec in artifact.outputs if spec.name in node.output]
        graph = helper.make_graph(
            nodes[::-1],
            "node",
            [value for value in piece.graph.input if value.name in node.input],
            [value for value in piece.graph.output if value.name in node.output],
            [tensor for tensor in piece.graph.initializer if tensor.name in needed],
        )
        model = helper.make_model(
            graph, opset_imports=_imports(node, piece), ir_version=piece.ir_version
        )
        return cls(Piece.number_of(outputs[0].name), model, inputs, outputs)


def _imports(node: onnx.NodeProto, piece: onnx.ModelProto) -> Sequence[onnx.OperatorSetIdProto]:
    """The versions of the operators; before 15 the reference normalises batches as in training."""
    if node.op_type == "BatchNormalization" and len(node.output) == 1:
        return [helper.make_opsetid("", 15)]
    return list(piece.opset_import)


def _samples(node: _Node) -> Iterator[tuple[Tensors, Tensors]]:
    """Inputs with the reference's outputs, where those are finite.

    They are noise, of positive numbers for logarithms and roots; and multiples of a half, where
    rules of rounding and of borders differ.
    """
    random = np.random.default_rng(0)
    evaluator: Any = ReferenceEvaluator(node.model)

    def sample(draw: Callable[[Sequence[int]], Array]) -> tuple[Tensors, Tensors] | None:
        inputs = {spec.name: draw(spec.typical).astype(np.float32) for spec in node.inputs}
        try:
            with np.errstate(all="ignore"):
                values = evaluator.run(None, inputs)
        except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError):
            return None  # the reference has not all forms of all operators
        names = (spec.name for spec in node.outputs)
        outputs = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
        finite = all(np.isfinite(value).all() for value in outputs.values())
        return (inputs, outputs) if finite else None

    noise = sample(random.standard_normal) or sample(random.random)
    halves = sample(lambda shape: random.integers(-8, 9, shape) / 2) if noise else None
    yield from filter(None, (noise, halves))


def _verdict(runner: NcnnRunner, inputs: Tensors, expected: Tensors) -> str:
    """Why a node is refused, or an empty text."""
    try:
        outputs = runner.compute(inputs, expected.keys())
    except EngineError:
        return _FAILED
    error = worst(compare_all(expected, outputs))
    if TOLERANCES["fp32"].admits(error):
        return ""
    return f"ncnn computes other numbers on a sample (max_rel {error.max_rel:.2g})"


if __name__ == "__main__":
    main()
