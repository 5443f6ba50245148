"""The cuts through a graph: which nodes lie before, and what crosses."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TypeVar

from tests.cutsuite.reading import Reading

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A cut in two.

    Attributes:
        name: ``position:3``, the first three nodes before the others, or ``ancestors:7``, node 7
            and all that it depends on before the others.
        starts: the graph's inputs that the first part takes.
        border: what the first part gives: what the second takes, and outputs of the graph.
        rest_starts: what the second part takes, from the first or from the graph's inputs.
        rest_ends: the graph's outputs that the second part makes.
        loose: the graph's outputs that depend on none of its inputs.
    """

    name: str
    starts: tuple[str, ...]
    border: tuple[str, ...]
    rest_starts: tuple[str, ...]
    rest_ends: tuple[str, ...]
    loose: tuple[str, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Everything that goes into a part or comes out of one."""
        every = (*self.starts, *self.border, *self.rest_starts, *self.rest_ends, *self.loose)
        return tuple(dict.fromkeys(every))


def plans(reading: Reading, cap: int | None, seed: str) -> Iterator[Plan]:
    """Cuts of a graph, each set of nodes once.

    Args:
        reading: the graph.
        cap: at most so many, half of them positions spread evenly, the others the ancestors of
            random nodes; None for every position and every node's ancestors.
        seed: of the random choice.
    """
    positions, ancestors = _positions(reading), _ancestors(reading)
    if cap is not None and len(positions) + len(ancestors) > cap:
        few = min(len(positions), max(cap - cap // 2, cap - len(ancestors)))
        positions = _spread(positions, few)
        names = random.Random(seed).sample(sorted(ancestors), cap - few)
        ancestors = {name: ancestors[name] for name in names}
    for name, first in (positions | ancestors).items():
        yield _plan(reading, name, first)


def plan(reading: Reading, name: str) -> Plan:
    """The cut of this name.

    Raises:
        ValueError: the graph has no such cut.
    """
    kind, _, number = name.partition(":")
    if kind == "position":
        first = _mask(reading.free & set(range(int(number))))
    else:
        first = reading.ancestors.get(int(number), 0)
    if first in (0, _mask(reading.free)):
        raise ValueError(f"'{name}' is no cut: one side of it would be empty")
    return _plan(reading, name, first)


def _positions(reading: Reading) -> dict[str, int]:
    found, first = {}, 0
    for node in sorted(reading.free)[:-1]:
        first |= 1 << node
        found[f"position:{node + 1}"] = first
    return found


def _ancestors(reading: Reading) -> dict[str, int]:
    seen = {0, _mask(reading.free), *_positions(reading).values()}
    found = {}
    for node, first in reading.ancestors.items():
        if first not in seen:
            seen.add(first)
            found[f"ancestors:{node}"] = first
    return found


def _plan(reading: Reading, name: str, first: int) -> Plan:
    rest = _mask(reading.free) & ~first
    before = [n for node in sorted(reading.free) if first >> node & 1 for n in reading.makes[node]]
    made = set(before)
    outputs = [name for name in reading.outputs if name not in reading.inputs]
    free = {name for node in reading.free for name in reading.makes[node]}
    border = [n for n in before if n in outputs or reading.users.get(n, 0) & rest]
    return Plan(
        name,
        _used(reading, reading.inputs, first),
        tuple(border),
        _used(reading, (*border, *reading.inputs), rest),
        tuple(name for name in outputs if name in free and name not in made),
        tuple(name for name in outputs if name not in free),
    )


def _used(reading: Reading, names: Sequence[str], side: int) -> tuple[str, ...]:
    return tuple(name for name in names if reading.users.get(name, 0) & side)


def _mask(nodes: frozenset[int]) -> int:
    return reduce(or_, (1 << node for node in nodes), 0)


def _spread(values: dict[str, T], count: int) -> dict[str, T]:
    keys = list(values)
    return {
        key: values[key]
        for key in (keys[(2 * n + 1) * len(keys) // (2 * count)] for n in range(count))
    }
