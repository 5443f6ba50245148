"""What a host step after the chain is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from backends.contract import Array
from deploy.runtime.detections import Detections


class Post(Protocol):
    """A host step: the chain's outputs to what is in each picture."""

    def batch(self, tensors: Sequence[Array], /) -> list[Detections]:
        """Detections of each picture, in input pixels."""
        ...


PostFactory = Callable[..., Post]
