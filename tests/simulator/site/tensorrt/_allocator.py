"""Where outputs go whose sizes are known only when they are computed."""

from __future__ import annotations

from ._dims import Dims
from ._log import CalledBack, call_back

_ALIGNMENT = 256  # bytes


class IOutputAllocator(metaclass=CalledBack):
    """To be derived from, with ``reallocate_output_async`` and ``notify_shape``."""

    def __init__(self) -> None:
        self._initialised = True


def ask(
    allocator: IOutputAllocator, name: str, memory: int, size: int, shape: list[int], stream: int
) -> int:
    """The address for an output of this size, or 0; the allocator learns its shape."""
    # the size is positive even of an empty tensor
    arguments = (name, memory, max(size, 1), _ALIGNMENT, stream)
    pointer = call_back(allocator, "reallocate_output_async", *arguments) or 0
    if pointer:
        call_back(allocator, "notify_shape", name, Dims(shape))
    return int(pointer)
