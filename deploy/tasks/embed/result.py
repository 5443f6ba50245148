"""The vector of one picture or input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from backends.contract import Array, Tensors
from deploy.runtime.results.result import Agreement, Result

SAME = 0.999
"""The cosine from which two vectors are the same.

It is the bound on the cosine of tensors in fp16 (``TOLERANCES``), the loosest precision.
"""

_SHOWN = 6  # numbers in a line


@dataclass(frozen=True)
class Embedding(Result):
    """A vector.

    Attributes:
        vector: (D,) float32.

    Raises:
        ValueError: another dtype or rank.

    Examples:
        >>> import numpy as np
        >>> first = Embedding(np.array([1.0, 0.0], np.float32))
        >>> first.similarity(Embedding(np.array([3.0, 4.0], np.float32)))
        0.6
    """

    noun: ClassVar[str] = "vectors"
    vector: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vector.dtype != np.float32 or self.vector.ndim != 1:
            raise ValueError("expected a vector (D,) float32")

    def similarity(self, other: Embedding) -> float:
        """The cosine of the angle between both vectors; 0 where one is zero or no number.

        Raises:
            ValueError: vectors of different lengths.
        """
        if self.vector.shape != other.vector.shape:
            raise ValueError(f"vectors of {len(self.vector)} and {len(other.vector)} numbers")
        first, second = (item.vector.astype(np.float64) for item in (self, other))
        with np.errstate(all="ignore"):
            cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
        return round(float(cosine), 12) if np.isfinite(cosine) else 0.0

    def to_json(self, classes: Sequence[str] = ()) -> Any:
        """The numbers."""
        return self.vector.tolist()

    def to_arrays(self) -> dict[str, Array]:
        """``vector``."""
        return {"vector": self.vector}

    @classmethod
    def from_arrays(cls, arrays: Tensors) -> Self:
        """The embedding from its array; errors as of ``Result``."""
        return cls(arrays["vector"])

    @classmethod
    def agreement(cls, expected: Sequence[Self], actual: Sequence[Self]) -> Agreement:
        """Count the pairs that are equal, or whose cosine is at least ``SAME``."""
        cosines = [_cosine(first, second) for first, second in zip(expected, actual, strict=True)]
        least = min(cosines, default=1.0)
        return Agreement(
            matched=sum(cosine >= SAME for cosine in cosines),
            total=len(cosines),
            noun=cls.noun,
            details={"smallest_cosine": least},
            text=f"cosines from {least:.6f} up",
        )

    def lines(self, classes: Sequence[str] = ()) -> list[str]:
        """Length, norm and the first numbers."""
        numbers = ", ".join(f"{number:.4f}" for number in self.vector[:_SHOWN])
        more = ", ..." if len(self.vector) > _SHOWN else ""
        norm = np.linalg.norm(self.vector)
        return [f"{len(self.vector)} numbers, norm {norm:.4f}: {numbers}{more}"]


def _cosine(expected: Embedding, actual: Embedding) -> float:
    """The cosine; 1 of equal vectors, also of zeros, and 0 of vectors of different lengths."""
    if np.array_equal(expected.vector, actual.vector):
        return 1.0
    is_comparable = expected.vector.shape == actual.vector.shape
    return expected.similarity(actual) if is_comparable else 0.0
