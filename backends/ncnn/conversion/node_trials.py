"""Trials of nodes on their own: converted, loaded and compared with ONNX's reference.

All nodes are converted beside each other in one run of pnnx. An unknown layer, or one that does not
fit, is traced back to its node; after a crash each half is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from backends.contract import EngineError
from backends.files import temporary_folder
from backends.ncnn import net_shape
from backends.ncnn.checking import NO_BATCH, input_blob
from backends.ncnn.checking.blob import Blob
from backends.ncnn.checking.param import MAGIC, LayerError, parse
from backends.ncnn.checking.shapes import infer_blob_shapes
from backends.ncnn.checking.values import check_values
from backends.ncnn.conversion.diagnosis import Cause, Fault, batch_axes, diagnose, has_layer
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.numeric_trials import wrong_nodes
from backends.ncnn.conversion.pieces import Piece, signature
from backends.ncnn.conversion.pnnx import PARAM, SCRIPT, PnnxRun, run_pnnx
from backends.ncnn.conversion.refusals import reason_of

MAX_SECONDS = 30.0
_MAX_RUN_SECONDS = 10.0  # of pnnx, which may hang on a node


@dataclass(frozen=True)
class TrialResult:
    """What the trials showed.

    Attributes:
        refused: why a node is not taken, by its number in the graph.
        runs: of pnnx.
        complete: whether they ended within their time; what was not tried is not refused.
    """

    refused: dict[int, str]
    runs: int
    complete: bool


def try_nodes(
    graph: FixedGraph, numbers: Sequence[int], max_seconds: float = MAX_SECONDS
) -> TrialResult:
    """Try each kind of node on its own; of nodes with equal signatures, one is tried for all.

    Args:
        graph: after its rewrites.
        numbers: the nodes to try, of which all tensors are float32 and of known sizes.
        max_seconds: for all trials together.
    """
    nodes = graph.model.graph.node
    equal: dict[object, list[int]] = {}
    for number in numbers:
        equal.setdefault(signature(graph, nodes[number]), []).append(number)
    members = {numbers[0]: numbers for numbers in equal.values()}
    trials = _Trials(graph, members, time.monotonic() + max_seconds)
    # nodes of one operator crash together: neighbours share their halves
    trials.refuse_from(sorted(members, key=lambda number: (nodes[number].op_type, number)))
    refused = {
        number: reason for first, reason in trials.refused.items() for number in members[first]
    }
    return TrialResult(refused, trials.runs, not trials.is_spent)


@dataclass
class _Trials:
    """Trials of a graph; of each kind of node there is one, and the numbers of all its members."""

    graph: FixedGraph
    members: Mapping[int, Sequence[int]]
    deadline: float
    refused: dict[int, str] = field(default_factory=dict)
    runs: int = 0
    is_spent: bool = False

    def refuse_from(self, numbers: Sequence[int]) -> None:
        """Refuse nodes until those that are left are converted and compute what they should."""
        while numbers:
            refused = self._not_taken(numbers, compare=True)
            if refused is None:
                refused = self._crashing(numbers, is_known=True)
            if not refused:
                return
            self.refused.update(refused)
            stems = self._stems(self.refused)  # what else stems from them is refused with them
            numbers = [number for number in numbers if not self._stems([number]) <= stems]

    def _stems(self, numbers: Iterable[int]) -> set[str]:
        """The nodes of the segment that some kinds of nodes stem from."""
        nodes = self.graph.model.graph.node
        return {nodes[other].doc_string for number in numbers for other in self.members[number]}

    def _crashing(self, numbers: Sequence[int], is_known: bool = False) -> dict[int, str]:
        """Some nodes that pnnx crashes on, by halves; empty where none does."""
        if len(numbers) == 1 or not is_known:
            refused = self._not_taken(numbers)
            if refused is not None:
                return refused
        half = len(numbers) // 2
        first = self._crashing(numbers[:half])
        return first | self._crashing(numbers[half:], is_known=not first and not self.is_spent)

    def _not_taken(self, numbers: Sequence[int], compare: bool = False) -> dict[int, str] | None:
        """Those of some nodes that are not taken; None where the net does not show which.

        Args:
            numbers: of the nodes.
            compare: whether to compare their numbers too, if all are taken, and to refuse what is
                computed wrongly.
        """
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            self.is_spent = True
            return {}
        self.runs += 1
        piece = Piece.apart(self.graph, numbers)
        with temporary_folder() as folder:
            shapes = [net_shape(spec) for spec in piece.inputs]
            run = run_pnnx(piece.model, shapes, folder, seconds=min(seconds, _MAX_RUN_SECONDS))
            fault = diagnose(run, piece.inputs, piece.outputs)
            if fault is None:
                if compare:
                    left = self.deadline - time.monotonic()
                    self.refused.update(wrong_nodes(run, piece, left))
                return {}
            if len(numbers) == 1:
                return {numbers[0]: reason_of(fault)}
            return _faulty_nodes(run, piece, fault) or None


def _faulty_nodes(run: PnnxRun, piece: Piece, fault: Fault) -> dict[int, str]:
    """The nodes whose own layers are unknown or do not fit; none where the net does not show it."""
    if fault.cause not in (Cause.UNKNOWN_LAYER, Cause.MISFIT):
        return {}
    axes = batch_axes((run.folder / SCRIPT).read_text())
    lines = run.param.read_text().splitlines()[2:]
    inputs = {
        f"in{index}": input_blob(spec, axes.get(f"in{index}", NO_BATCH))
        for index, spec in enumerate(piece.inputs)
    }
    faulty = {}
    for index, spec in enumerate(piece.outputs):
        own = _lines_of(lines, f"out{index}")
        own_fault = _fault_of(own, inputs, f"out{index}", prod(net_shape(spec)))
        if own_fault:
            faulty[Piece.number_of(spec.name)] = reason_of(own_fault)
    return faulty


def _lines_of(lines: Sequence[str], output: str) -> list[str]:
    """The layers that an output needs, in their order, as the lines of the net."""
    needed, own = {output}, []
    for line in reversed(lines):
        bottoms, tops = _blobs(line)
        if needed.intersection(tops):
            needed.update(bottoms)
            own.append(line)
    return own[::-1]


def _blobs(line: str) -> tuple[list[str], list[str]]:
    """The blobs that a layer reads, and those that it writes."""
    _, _, bottoms, tops, *words = line.split()
    first, last = int(bottoms), int(bottoms) + int(tops)
    return words[:first], words[first:last]


def _fault_of(
    lines: Sequence[str], inputs: Mapping[str, Blob], output: str, total: int
) -> Fault | None:
    """What is wrong with the layers of one node."""
    if unknown := {kind for line in lines if not has_layer(kind := line.split()[0])}:
        return Fault(Cause.UNKNOWN_LAYER, frozenset(unknown))
    count = sum(len(_blobs(line)[1]) for line in lines)
    try:
        net = parse("\n".join([MAGIC, f"{len(lines)} {count}", *lines, ""]), PARAM)
        for layer in net.layers:
            check_values(layer)
        blobs = infer_blob_shapes(net.layers, inputs)
    except LayerError as error:
        return Fault(Cause.MISFIT, frozenset({error.kind}), error.reason)
    except EngineError as error:
        return Fault(Cause.MISFIT, reason=str(error))
    if output not in blobs:
        return Fault(Cause.LOST_TENSOR)
    blob = blobs[output]
    if blob is not None and blob.total != total:
        return Fault(Cause.MISFIT, reason=f"its output: expected {total} numbers, got {blob.total}")
    return None
