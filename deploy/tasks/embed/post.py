"""The output of an encoder to a vector for each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from backends.contract import Array, TensorError
from deploy.runtime.execution.post_steps import PostFactory
from deploy.runtime.results.result import Result
from deploy.tasks.embed.result import Embedding


class Embed:
    """The output of an encoder to vectors.

    One tensor: (N, D) or (N, D, 1, 1) floats: image encoders of CLIP, face and product embeddings,
    and classifiers of timm and torchvision without their head.

    Formula:
        1. The tensor (1, D) or (1, D, 1, 1) is the vector.
        2. With ``normalise``, divide it by its Euclidean length; a zero stays zero.

    Args:
        normalise: give vectors of length 1, whose products are cosines. A zero stays zero.

    Examples:
        >>> import numpy as np
        >>> (result,) = Embed().batch([np.array([[3.0, 4.0]], np.float32)])
        >>> [round(number, 3) for number in result.to_json()]
        [0.6, 0.8]
    """

    result: ClassVar[type[Result]] = Embedding

    def __init__(self, normalise: bool = True) -> None:
        self._normalise = normalise

    def batch(self, tensors: Sequence[Array]) -> list[Embedding]:
        """The vector of each input of a batch.

        Raises:
            TensorError: another number or shape of tensors.
        """
        shapes = [tensor.shape for tensor in tensors]
        is_map = len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][2:] == (1, 1)
        if len(shapes) != 1 or not (is_map or len(shapes[0]) == 2):
            raise TensorError(
                "vectors",
                expected="one tensor [N, numbers] or [N, numbers, 1, 1]",
                got=", ".join(str(list(shape)) for shape in shapes) or "none",
            )
        vectors = tensors[0].reshape(shapes[0][:2]).astype(np.float32)
        return [Embedding(_unit(vector) if self._normalise else vector) for vector in vectors]


def _unit(vector: Array) -> Array:
    largest = np.abs(vector).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        return vector
    scaled = vector / largest  # whose squares neither overflow nor vanish
    unit: Array = (scaled / np.linalg.norm(scaled)).astype(np.float32)
    return unit


POSTS: Mapping[str, PostFactory] = {"embed": Embed}
"""The post-processing steps by the ids that bundles name."""
