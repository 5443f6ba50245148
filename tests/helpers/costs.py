"""What a call costs, counted and not timed: instructions of Python, and bytes at the most."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple


class Cost(NamedTuple):
    """Instructions of Python's own, and bytes that it and NumPy take at the most."""

    instructions: int
    bytes: int


def cost_of(call: Callable[[], object]) -> Cost:
    """The cost of a call that was made before, so that what is made once is there."""
    for _ in range(3):
        call()
    return Cost(_instructions(call), peak(call))


def _instructions(call: Callable[[], object]) -> int:
    count = 0

    def traced(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def peak(call: Callable[[], object]) -> int:
    """Bytes that a call takes at the most."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
