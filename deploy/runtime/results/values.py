"""Values by name: the result of a post-processing step that has no result class of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from backends.acceptance import TOLERANCES
from backends.codec import FormatError
from backends.contract import Array, Tensors
from backends.json_limits import check_json
from deploy.runtime.results.result import Agreement, Result

_SHOWN = 160  # characters of a value in a line


@dataclass(frozen=True)
class Values(Result):
    """Numbers, texts, lists and mappings by name.

    Attributes:
        entries: as JSON has them; arrays are given as lists.

    Raises:
        ValueError: a value that JSON does not have.

    Examples:
        >>> import numpy as np
        >>> result = Values.of({"angle": np.float32(0.5), "tags": ["a", "b"]})
        >>> result.to_json()
        {'angle': 0.5, 'tags': ['a', 'b']}
    """

    noun: ClassVar[str] = "values"
    entries: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            check_json(self.entries, "result")
        except FormatError as error:
            raise ValueError(str(error)) from error
        if not isinstance(self.entries, Mapping):
            raise ValueError(f"expected values by name, got {type(self.entries).__name__}")

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Self:
        """The result of what a step returns, in which arrays and NumPy's numbers become plain."""
        return cls(_plain(entries))

    def to_json(self, classes: Sequence[str] = ()) -> dict[str, Any]:
        """The entries."""
        return dict(self.entries)

    def to_arrays(self) -> dict[str, Array]:
        """The entries as the bytes of their JSON."""
        text = json.dumps(self.entries).encode()
        return {"json": np.frombuffer(text, np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The result from its arrays; errors as of ``Result``."""
        text = arrays["json"]
        if text.dtype != np.uint8 or text.ndim != 1:
            raise ValueError("expected the bytes of a text")
        try:
            return cls(json.loads(text.tobytes()))
        except RecursionError as error:
            raise ValueError("values that are nested too deep") from error

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Compare value by value: fractions within the tolerance of fp32, all others exactly."""
        pairs = list(zip(expected, actual, strict=True))
        same = [
            _same_leaves(first.entries, second.entries, _largest(first.entries))
            for first, second in pairs
        ]
        leaves = [leaf for picture in same for leaf in picture]
        return Agreement(sum(leaves), len(leaves), cls.noun)

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Name and value of each entry."""
        return [f"{name:<16} {json.dumps(value)[:_SHOWN]}" for name, value in self.entries.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _same_leaves(expected: Any, actual: Any, scale: float) -> list[bool]:
    """For each number or text of either, whether both have it."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        names = dict.fromkeys((*expected, *actual))
        pairs = [(expected.get(name), actual.get(name)) for name in names]
    elif isinstance(expected, list) and isinstance(actual, list):
        length = max(len(expected), len(actual))
        pairs = [(_at(expected, number), _at(actual, number)) for number in range(length)]
    else:
        return [_same(expected, actual, scale)]
    return [leaf for pair in pairs for leaf in _same_leaves(*pair, scale)]


def _at(items: list[Any], number: int) -> Any:
    return items[number] if number < len(items) else None


def _same(expected: Any, actual: Any, scale: float) -> bool:
    numbers = [isinstance(value, float | int) for value in (expected, actual)]
    if all(numbers) and (isinstance(expected, float) or isinstance(actual, float)):
        if expected == actual or (expected != expected and actual != actual):
            return True
        return bool(abs(expected - actual) <= TOLERANCES["fp32"].max_rel * scale)
    return type(expected) is type(actual) and bool(expected == actual)


def _largest(value: Any) -> float:
    """The largest magnitude of the finite fractions in a value."""
    if isinstance(value, Mapping):
        return max((_largest(item) for item in value.values()), default=0.0)
    if isinstance(value, list):
        return max(map(_largest, value), default=0.0)
    return abs(value) if isinstance(value, float) and np.isfinite(value) else 0.0
