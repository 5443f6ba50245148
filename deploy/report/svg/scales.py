"""Scales of a plot: from a value to a place, with round numbers as ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TICKS = 4  # about so many


@dataclass(frozen=True)
class Scale:
    """A scale from ``low`` to ``high``.

    Attributes:
        low: the least value.
        high: the largest value.
        ticks: values to write at the axis.
        digits: decimals of the ticks.
        is_log: whether the scale is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int = 0
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at ``low`` and 1 at ``high``, also for values beyond them."""
        if self.is_log:
            low, high, at = (math.log10(number) for number in (self.low, self.high, value))
        else:
            low, high, at = self.low, self.high, value
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def text(self, tick: float) -> str:
        """A tick for people."""
        if not self.is_log or 1e-3 <= tick < 1e4:
            return f"{tick:.{self.digits}f}" if not self.is_log else f"{tick:g}"
        return f"{tick:.0e}"


def linear_scale(low: float, high: float) -> Scale:
    """A scale that begins and ends at ticks.

    Examples:
        >>> linear_scale(0, 14.3).ticks
        (0.0, 5.0, 10.0, 15.0)
        >>> linear_scale(0.821, 0.824).ticks
        (0.821, 0.822, 0.823, 0.824)
    """
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(round(number * step, digits) for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks, digits)


def log_scale(low: float, high: float) -> Scale:
    """A logarithmic scale that begins and ends at powers of ten.

    Examples:
        >>> log_scale(3e-6, 2e-4).ticks
        (1e-06, 1e-05, 0.0001, 0.001)
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    every = max(1, math.ceil((last - first) / (_TICKS + 1)))
    ticks = tuple(float(f"1e{power}") for power in range(first, last + 1, every))
    return Scale(10.0**first, 10.0**last, ticks, is_log=True)


def latency_scale(values: Sequence[float]) -> Scale:
    """From zero, so that what is nearly equal looks so; logarithmic over more than a decade."""
    low, high = min(values), max(values)
    if low > 0 and high / low > 10:
        return log_scale(low, high)
    return linear_scale(0.0, high)


def _round_step(least: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
