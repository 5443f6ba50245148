"""The cuts, and what is done between segments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SegmentRecipe:
    """A segment between the points ``start`` and ``end``.

    Attributes:
        outputs: a name for each end tensor.
        dynamic: ``{tensor: {axis: [min, opt, max]}}`` for sizes that are known for this segment
            alone, such as how many boxes come out of a host step.
    """

    name: str
    start: list[str]
    end: list[str]
    outputs: list[str] | None = None
    dynamic: dict[str, dict[int, list[int]]] = field(default_factory=dict)


@dataclass
class HostTensorRecipe:
    """What a host step gives.

    Attributes:
        shape: sizes, and names of the step's ``dynamic`` for sizes that vary; by default shape and
            dtype are those that a segment behind it takes.
        dtype: of NumPy.
        at: the point in the model where PyTorch's own value of it is, if there is one.
    """

    shape: list[Any] | None = None
    dtype: str = "float32"
    at: str | None = None


@dataclass
class HostRecipe:
    """What is done on the host between segments.

    Attributes:
        name: of the step.
        id: under which its code is registered.
        inputs: tensors of the chain: a segment's, another host step's, or the model's inputs.
        outputs: the tensors that it makes; segments that start there take them by their names.
        params: keyword arguments of its code.
        dynamic: ``[min, opt, max]`` of each name in the shapes.
        calls: segments that it runs itself, as often as it likes.
    """

    name: str
    id: str
    inputs: list[str] = field(default_factory=list)
    outputs: dict[str, HostTensorRecipe] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    dynamic: dict[str, list[int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)


@dataclass
class PartitionRecipe:
    """The cuts; none means the whole model is one segment.

    Attributes:
        segments: what each segment is; the rest of the model is the host's.
        cuts: in the place of segments, where to cut the whole model: a mark, a point, or a list
            of them, for each border. The segments are ``part0``, ``part1`` and so on.
        host: what is done between segments.
    """

    segments: list[SegmentRecipe] = field(default_factory=list)
    cuts: list[Any] = field(default_factory=list)
    host: list[HostRecipe] = field(default_factory=list)

    @property
    def across(self) -> list[list[str]]:
        """The points of each border."""
        return [[one] if isinstance(one, str) else list(one) for one in self.cuts]
