"""Search for the nodes of a graph that pnnx crashes on, or that ncnn cannot take.

Nodes are tried on their own, several in one run of pnnx, of which a half is tried again where the
fault shows. Where no node shows it on its own, the part of the graph that ends with a node is
tried, by bisection.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

import onnx

from backends.bisection import NodeSet, members, narrow_down
from backends.files import temporary_folder
from backends.ncnn.conversion.diagnosis import Cause, Fault, diagnose
from backends.ncnn.conversion.fixed_graph import FixedGraph, Origin, bodies, is_used
from backends.ncnn.conversion.pieces import Piece, signature
from backends.ncnn.conversion.pnnx import run_pnnx

# what pnnx calls operators that ncnn never has, nor inputs of their types: none can be tried alone
_TYPES = {
    "Tensor.to": "Cast",
    "torch.eq": "Equal",
    "torch.ge": "GreaterOrEqual",
    "torch.gt": "Greater",
    "torch.le": "LessOrEqual",
    "torch.lt": "Less",
    "torch.logical_and": "And",
    "torch.logical_not": "Not",
    "torch.logical_or": "Or",
    "torch.logical_xor": "Xor",
    "torch.where": "Where",
}

MAX_TRIES = 40
MAX_SECONDS = 60.0


@dataclass(frozen=True)
class FaultyNodes:
    """What the search found.

    Attributes:
        origins: nodes of the segment with the fault; empty where no part of the graph shows it.
        alone: whether each shows the fault on its own; otherwise together with what it needs.
        tries: runs of pnnx.
        complete: whether the search ended within its bounds.
    """

    origins: tuple[Origin, ...]
    alone: bool
    tries: int
    complete: bool


def find_faulty_nodes(
    graph: FixedGraph,
    fault: Fault,
    max_tries: int = MAX_TRIES,
    max_seconds: float = MAX_SECONDS,
) -> FaultyNodes:
    """Find the nodes that show a fault of the whole graph.

    Args:
        graph: that was converted.
        fault: of the whole graph.
        max_tries: runs of pnnx.
        max_seconds: for all of them together.
    """
    search = _Search(graph, fault, max_tries, time.monotonic() + max_seconds)
    numbers = range(len(search.nodes))
    if len(numbers) == 1:
        return search.result(numbers, alone=True)
    named = {kind: _TYPES.get(kind, kind) for kind in fault.layers}
    certain = search.of_types({named[kind] for kind in fault.layers if kind in _TYPES})
    possible = search.of_types({kind for kind in fault.layers if kind not in _TYPES})
    faulty = certain + (possible if len(possible) == 1 else search.alone(possible))
    known = {search.nodes[number].op_type for number in (*certain, *possible)}
    others = frozenset(kind for kind in fault.layers if named[kind] not in known)
    if others or not fault.layers:  # pnnx has another name for these
        search.fault = replace(fault, layers=others)
        faulty += search.alone([number for number in numbers if number not in faulty])
    if faulty:
        return search.result(sorted(faulty), alone=True)
    search.fault = fault
    return search.result(search.bisect(), alone=False)


@dataclass
class _Search:
    """A graph, what to look for in its parts, and how many tries and seconds are left."""

    graph: FixedGraph
    fault: Fault
    tries_left: int
    deadline: float
    nodes: list[onnx.NodeProto] = field(init=False)
    tries: int = 0
    is_spent: bool = False

    def __post_init__(self) -> None:
        self.nodes = list(self.graph.model.graph.node)

    def of_types(self, operators: Collection[str]) -> list[int]:
        """The nodes of some ONNX types that are no constants."""
        return [
            number
            for number, node in enumerate(self.nodes)
            if node.op_type in operators and not self.graph.is_constant(node.output[0])
        ]

    def result(self, numbers: Iterable[int], alone: bool) -> FaultyNodes:
        """The nodes of the segment that these nodes stem from."""
        origins = dict.fromkeys(self.graph.origin(self.nodes[number]) for number in numbers)
        return FaultyNodes(tuple(origins), alone, self.tries, not self.is_spent)

    def alone(self, candidates: Sequence[int]) -> list[int]:
        """The candidates that show the fault on their own; of equal ones, one is tried."""
        by_signature: dict[object, list[int]] = {}
        for number in candidates:
            if self._is_known(number):
                by_signature.setdefault(signature(self.graph, self.nodes[number]), []).append(
                    number
                )
        firsts = {numbers[0]: numbers for numbers in by_signature.values()}
        faulty = self._faulty_ones(list(firsts))
        return sorted(number for first in faulty for number in firsts[first])

    def _faulty_ones(self, numbers: list[int], is_faulty: bool = False) -> list[int]:
        if not numbers or (not is_faulty and not self._shows(Piece.apart(self.graph, numbers))):
            return []
        if len(numbers) == 1:
            return numbers
        half = len(numbers) // 2
        first = self._faulty_ones(numbers[:half])
        return first + self._faulty_ones(numbers[half:], is_faulty=not first and not self.is_spent)

    def bisect(self) -> list[int]:
        """The first node that shows the fault together with all that it needs."""
        numbers = {name: n for n, node in enumerate(self.nodes) for name in node.output}
        ancestors: list[NodeSet] = []
        for number, node in enumerate(self.nodes):
            needed = (ancestors[numbers[name]] for name in node.input if name in numbers)
            ancestors.append(reduce(or_, needed, 1 << number))
        closures = [members(nodes) for nodes in ancestors]

        def is_good(number: int, _: NodeSet) -> bool | None:
            if not self._is_known(number) or self.is_spent:
                return None
            piece = Piece.connected(self.graph, closures[number], number)
            return not self._shows(piece)

        for value in self.graph.model.graph.output:
            last = numbers.get(value.name)
            if last is not None and is_good(last, 0) is False:
                tiers = [range(len(self.nodes))]
                return [narrow_down(last, ancestors, tiers, is_good).wrong]
        return []

    def _is_known(self, number: int) -> bool:
        """Whether a node can be tried: the sizes of its tensors are known, and they fit a net."""
        node = self.nodes[number]
        used = [name for name in node.output if is_used(name, self.graph)]
        names = [*filter(None, node.input), *used]
        known = all(self.graph.shape(name) for name in names if not self.graph.is_constant(name))
        needs_floats = self.fault.cause in (Cause.LOST_TENSOR, Cause.MISFIT)
        fits = not needs_floats or all(map(self.graph.is_float, used))
        return known and fits and not bodies(node)

    def _shows(self, piece: Piece) -> bool:
        """Whether a part of the graph shows the fault; what is not tried does not."""
        seconds = self.deadline - time.monotonic()
        if self.tries_left <= 0 or seconds <= 0:
            self.is_spent = True
            return False
        self.tries_left -= 1
        self.tries += 1
        with temporary_folder() as folder:
            run = run_pnnx(
                piece.model,
                [spec.typical for spec in piece.inputs],
                folder,
                seconds=seconds,
            )
            fault = diagnose(run, piece.inputs, piece.outputs)
        return self.fault.shows_in(fault)
