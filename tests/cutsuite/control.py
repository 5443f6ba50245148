"""The negative control: a wrong tensor at a border must show in what the model gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from backends.contract import Array
from tests.cutsuite.check import cut
from tests.cutsuite.engine import FAILURES, Engine
from tests.cutsuite.plans import Plan
from tests.cutsuite.usable import Model, Tensors
from tests.cutsuite.values import tensor

_TRIES = 64
T = TypeVar("T")


def control(model: Model, plans: Iterable[Plan], folder: Path) -> str:
    """A change at a border that the outputs show; empty if none of some tries does.

    A change that makes the second part fail counts as no answer.
    """
    tries = _in_turn([_tries(model, plan, folder / "control") for plan in plans])
    return next((what for what, shown in islice(tries, _TRIES) if shown), "")


def _in_turn(several: Iterable[Iterator[T]]) -> Iterator[T]:
    """One of each, then another of each."""
    waiting = deque(several)
    while waiting:
        each = waiting.popleft()
        for one in islice(each, 1):
            yield one
            waiting.append(each)


def _tries(model: Model, plan: Plan, folder: Path) -> Iterator[tuple[str, bool]]:
    inputs, expected = model.runs[0]
    first, rest = (Engine(s.onnx) for s in cut(model, plan, "explicit", folder).segments)
    values = {**inputs, **first(inputs)}
    crossing = [name for name in plan.rest_starts if name in plan.border]
    changes = {name: list(_changes(values[name].array)) for name in crossing}
    for number in range(max(map(len, changes.values()), default=0)):
        for name in crossing:
            if number < len(changes[name]):
                how, array = changes[name][number]
                shown = _shows(rest, {**values, name: tensor(array)}, expected)
                yield f"{plan.name}: '{name}' {how}", shown


def _shows(rest: Engine, values: Tensors, expected: Tensors) -> bool:
    try:
        found = rest(values)
    except FAILURES:
        return False
    return not all(found[name].same_as(expected[name]) for name in found)


def _changes(array: Array) -> Iterator[tuple[str, Array]]:
    """The array with other values, in ways that some operation or other does not level out."""
    if not array.size:
        return
    if array.dtype == object:
        yield "with a letter more", np.array([f"{one}~" for one in array.flat]).reshape(array.shape)
        return
    if array.dtype == bool:
        yield "inverted", ~array
        return
    wide = array if array.dtype.kind in "iufc" else array.astype(np.float32)
    one = wide.dtype.type(1)
    yield "plus 1", (wide + one).astype(array.dtype)
    yield "first value plus 1", (wide + one * _first(wide)).astype(array.dtype)
    yield "negative and larger", (-wide - wide - one).astype(array.dtype)
    yield "in reverse", array.ravel()[::-1].reshape(array.shape)
    yield "all 0", np.zeros_like(array)


def _first(array: Array) -> Array:
    mask = np.zeros(array.size, array.dtype)
    mask[0] = 1
    return mask.reshape(array.shape)
