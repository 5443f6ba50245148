"""Chance, seeded: what every mutator draws from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.fuzzing.trees import Seed

T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """Chance, and what there is to choose from.

    Attributes:
        chance: seeded by the kind, the seed and the number of the case.
        seeds: the corpus of the kind.
        outside: the folder with canaries that no case may touch.
    """

    chance: random.Random
    seeds: Sequence[Seed]
    outside: Path

    def one(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.chance.randrange(len(choices))]

    def number(self, least: int, most: int) -> int:
        """From ``least`` to ``most``, both included."""
        return self.chance.randint(least, most)

    def maybe(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.chance.random() < share

    def few(self, most: int) -> int:
        """From 1 to ``most``, small numbers more often."""
        return min(self.number(1, most) for _ in range(2))
