"""Sets of values, each with the words for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Whole:
    """Integers from ``low`` to ``high``, or one of ``also``."""

    low: int
    high: int
    also: tuple[int, ...] = ()
    required: bool = False

    def __contains__(self, value: object) -> bool:
        return type(value) is int and (self.low <= value <= self.high or value in self.also)

    def __str__(self) -> str:
        return " or ".join([f"{self.low} to {self.high}", *map(str, self.also)])


@dataclass(frozen=True)
class Number:
    """Numbers above ``low``, at most ``high``. Of an integer ncnn takes the bits: next to 0."""

    low: float = -float("inf")
    high: float = float("inf")
    required: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        return self.low < (value if isinstance(value, float) else 0.0) <= self.high

    def __str__(self) -> str:
        if self.low == -float("inf"):
            return "a number"
        return f"a number above {self.low:g}, at most {self.high:g}"


@dataclass(frozen=True)
class Several:
    """An array of such values."""

    each: Whole | Number
    most: int = 1 << 12
    required: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= self.most
            and all(item in self.each for item in value)
        )

    def __str__(self) -> str:
        return f"up to {self.most} times {self.each}"


@dataclass(frozen=True)
class Text:
    """A text."""

    required: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return "a text"


Bound = Whole | Number | Several | Text
