"""What measured rounds can say: which latencies are noise, which are equal, and which is the least.

docs/adr/0028 has the reasons for these rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

TIE = 0.05
"""Latencies that differ by less than this share of the lesser are equal."""

NOISE = 0.10
"""The largest spread of rounds, as a share of their median, that agree with each other."""

MOST = 0.75
"""The share of the rounds in which one has to be faster than another to be called faster."""

_PARTS = 5  # that calls in a row are split into

Standing = Literal["fastest", "tied", "slower", "undecided"]

Rounds = Mapping[str, Sequence[float]]
"""By name, the p50 of each round in milliseconds; the rounds were measured in turns."""


@dataclass(frozen=True)
class Ranking:
    """What the rounds say.

    Attributes:
        leaders: the one of the least latency, and those that are equal to it, in the order of
            their latency.
        decided: whether one of the leaders was the first in most rounds. Where none was, none is
            called fastest.
        first_in: by name, in how many rounds it was the first.
        rounds: how many rounds there were.
    """

    leaders: tuple[str, ...]
    decided: bool
    first_in: Mapping[str, int]
    rounds: int

    def standing(self, name: str) -> Standing:
        """How one of those that were ranked stands."""
        if name not in self.leaders:
            return "slower"
        if not self.decided:
            return "undecided"
        return "fastest" if len(self.leaders) == 1 else "tied"


def rank(rounds: Rounds) -> Ranking | None:
    """Compare what was measured in turns.

    Those that cannot be told from the one of the least median are tied with it. Their median is
    within ``TIE`` of its own, or within the ``spread`` of the rounds of either; or it is not faster
    in ``MOST`` of the rounds. A fastest, or a tie for it, is named only where one of them was the
    first of all in more than half of the rounds.

    Returns:
        The ranking; None where there are fewer than two to compare, or no rounds.

    Examples:
        >>> rank({"a": [10, 11, 10], "b": [20, 21, 19]}).leaders
        ('a',)
        >>> rank({"a": [10, 11, 10], "b": [10.2, 10.9, 10.4]}).standing("b")
        'tied'
    """
    count = min(map(len, rounds.values()), default=0)
    if len(rounds) < 2 or count == 0:
        return None
    medians = {name: float(np.median(row)) for name, row in rounds.items()}
    by_latency = sorted(medians, key=medians.__getitem__)
    first, *others = by_latency
    leaders = (first, *(name for name in others if not _is_slower(rounds[name], rounds[first])))
    first_in = Counter(min(rounds, key=lambda name: rounds[name][turn]) for turn in range(count))
    led = sum(first_in[name] for name in leaders)
    return Ranking(leaders, 2 * led > count, dict(first_in), count)


def describe_fastest(ranking: Ranking, names: Mapping[str, str] | None = None) -> str:
    """Which is the fastest, or which cannot be told apart, in words.

    Args:
        ranking: what the rounds say.
        names: for people, of those that were ranked; by default their own.

    Examples:
        >>> ranking = rank({"a": [10, 11, 10], "b": [20, 21, 19]})
        >>> describe_fastest(ranking) if ranking else ""
        'fastest: a, first in 3 of 3 rounds'
    """
    *others, last = ((names or {}).get(name, name) for name in ranking.leaders)
    leaders = f"{', '.join(others)} and {last}" if others else last
    if not ranking.decided:
        return "fastest: none, since none was first in most rounds"
    if len(ranking.leaders) == 1:
        most = f"in {ranking.first_in.get(ranking.leaders[0], 0)} of {ranking.rounds} rounds"
        return f"fastest: {leaders}, first {most}"
    return (
        f"fastest: a tie of {leaders}, which differ by less than {TIE:.0%}, or by less than the "
        "rounds of one of them do"
    )


def _is_slower(rounds: Sequence[float], least: Sequence[float]) -> bool:
    margin = max(TIE, spread(rounds), spread(least))
    bound = float(np.median(least)) * (1 + margin)
    return float(np.median(rounds)) >= bound and is_faster(least, rounds)


def is_faster(rounds: Sequence[float], others: Sequence[float]) -> bool:
    """Whether one was faster than another in ``MOST`` of the rounds, which were taken in turns."""
    won = sum(one < other for one, other in zip(rounds, others, strict=True))
    return won >= MOST * len(rounds)


def spread(rounds: Sequence[float]) -> float:
    """How far the rounds of one lie apart: the distance of their quartiles over their median.

    Examples:
        >>> spread([10.0, 10.0, 11.0, 12.0, 12.0])
        0.18181818181818182
    """
    low, middle, high = (float(value) for value in np.percentile(rounds, [25, 50, 75]))
    return (high - low) / middle if middle > 0 else 0.0


def is_noise(rounds: Sequence[float]) -> bool:
    """Whether the rounds disagree: the middle half of them lies further apart than ``NOISE``."""
    return len(rounds) > 1 and spread(rounds) > NOISE


def describe_noise(calls: Sequence[float]) -> str:
    """That calls in a row disagree, in words; empty where they do not.

    Args:
        calls: milliseconds of each, in their order; they are taken as a few rounds.

    Examples:
        >>> describe_noise([10, 10, 10, 10, 15, 15, 15, 15])
        'noisy: p50 of rounds from 10.0 to 15.0 ms'
    """
    rounds = [float(np.median(row)) for row in np.array_split(np.array(calls), _PARTS) if len(row)]
    return noise_line(rounds) if is_noise(rounds) else ""


def noise_line(rounds: Sequence[float]) -> str:
    """How far rounds lie apart, in words."""
    return f"noisy: p50 of rounds from {format_ms(min(rounds))} to {format_ms(max(rounds))} ms"


def format_ms(value: float) -> str:
    """Milliseconds with three digits or more.

    Examples:
        >>> [format_ms(value) for value in (0.1234, 1.234, 12.34, 1234.5)]
        ['0.123', '1.23', '12.3', '1234.5']
    """
    digits = 3 if value < 1 else 2 if value < 10 else 1
    return f"{value:.{digits}f}"
