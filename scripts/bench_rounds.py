"""Two ways of doing one thing, timed in paired rounds of one process."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from backends.contract import Array

ROUNDS, SECONDS = 15, 0.5  # a round takes at least so long

Way = Callable[[], object]
Quartiles = tuple[float, float, float]


def paired(one: Way, other: Way) -> Array:
    """Seconds (rounds, 2) of a call of each, behind a call of each that is not counted.

    In a round both are called in turns, and its figures are the medians of their calls. Which of
    them goes first alternates from round to round.
    """
    one(), other()
    rounds = [_round(other, one)[::-1] if n % 2 else _round(one, other) for n in range(ROUNDS)]
    return np.array(rounds)


def _round(first: Way, second: Way) -> list[float]:
    calls: list[tuple[float, float]] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        calls.append((_seconds(first), _seconds(second)))
    return [float(median) for median in np.median(calls, axis=0)]


def _seconds(way: Way) -> float:
    """What is returned is freed after the clock has stopped."""
    start = time.perf_counter()
    kept = way()
    seconds = time.perf_counter() - start
    del kept
    return seconds


def quartiles(values: Array) -> Quartiles:
    """The lower quartile, the median and the upper quartile."""
    low, middle, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return low, middle, high


def spread(values: Quartiles, unit: float, digits: int) -> str:
    """The median, and the quartiles in brackets."""
    low, middle, high = (f"{value * unit:,.{digits}f}" for value in values)
    return f"{middle} ({low} to {high})"
