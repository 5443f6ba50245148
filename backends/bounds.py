"""Bounds of a value, declared beside its type: ``Annotated[int, Between(1, 100)]``.

``codec`` checks them, and so does whatever else reads a type's annotations.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Between:
    """A number from ``low`` to ``high``, both included; NaN is not.

    Examples:
        >>> Between(1, 10_000).accepts(10_000), Between(0, 1).accepts(float("nan"))
        (True, False)
        >>> str(Between(1, 10_000))
        'from 1 to 10,000'
    """

    low: int | float
    high: int | float

    def accepts(self, value: int | float) -> bool:
        """Whether the number is within the bounds."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """For an error: behind the name of the type."""
        return f"from {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class Length:
    """A text of ``least`` to ``most`` characters, or a list of so many values.

    Examples:
        >>> Length(1, 100).accepts(""), Length(1, 100).accepts([5])
        (False, True)
        >>> str(Length(0, 1_000))
        'of length 0 to 1,000'
    """

    least: int
    most: int

    def accepts(self, value: Sized) -> bool:
        """Whether the length is within the bounds."""
        return self.least <= len(value) <= self.most

    def __str__(self) -> str:
        """For an error: behind the name of the type."""
        return f"of length {self.least:,} to {self.most:,}"


Name = Annotated[str, Length(0, 1_000)]
"""A name that people read: of a model, a class, a tool, a registered id."""
