"""Pictures into the chain's input, in memory that is used again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backends.contract import Array, Specs
from deploy.runtime.batching import least_batch
from deploy.runtime.image import Picture, Placement, Pre, decode
from deploy.runtime.letterbox import Letterbox


class Prepared(NamedTuple):
    """Pictures as a chain takes them.

    Attributes:
        inputs: of the chain.
        placements: where each picture lies in them.
        tensor: the memory that they were written into.
    """

    inputs: dict[str, Array]
    placements: list[Placement]
    tensor: Array


class Preparer:
    """Letterboxes pictures; several threads may call it.

    Fresh memory costs more than writing it does, page by page. So a tensor that is given back is
    written again, and there are never more than were under way at once.
    """

    def __init__(self, pre: Pre, inputs: Specs) -> None:
        self._name = pre.input
        self._dtype = inputs[0].dtype
        self._shape = (3, pre.height, pre.width)
        self._least = least_batch(inputs)
        self._letterbox = Letterbox(pre)
        self._free: defaultdict[int, list[Array]] = defaultdict(list)

    def __call__(self, pictures: Sequence[Picture]) -> Prepared:
        """The pictures as one batch; one that is too small repeats its last picture.

        Raises:
            ImageError: not a picture.
        """
        decoded = [decode(picture) for picture in pictures]
        tensor = self._taken(max(len(decoded), self._least))
        placements = [
            self._letterbox(picture, tensor[place : place + 1])[1]
            for place, picture in enumerate(decoded)
        ]
        tensor[len(decoded) :] = tensor[len(decoded) - 1]
        inputs = {self._name: tensor.astype(self._dtype, copy=False)}
        return Prepared(inputs, placements, tensor)

    def _taken(self, batch: int) -> Array:
        try:
            return self._free[batch].pop()
        except IndexError:
            return np.empty((batch, *self._shape), np.float32)

    def give_back(self, prepared: Prepared) -> None:
        """Nobody reads these inputs any more."""
        self._free[len(prepared.tensor)].append(prepared.tensor)
