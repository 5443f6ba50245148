"""The same selection on the host: NumPy alone, as it runs on the device."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from backends.bounds import Between


class Strongest:
    """The features of the cells with the largest sum.

    Args:
        count: of cells.
    """

    def __init__(self, count: Annotated[int, Between(1, 256)] = 8) -> None:
        self.count = count

    def __call__(self, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """``features`` (1, C, H, W) to ``rows`` (count, C)."""
        (features,) = inputs["features"]
        cells = features.reshape(len(features), -1).T
        return {"rows": cells[np.argsort(-cells.sum(1))[: self.count]]}
