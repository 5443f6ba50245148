"""Which networks there are."""

from __future__ import annotations

from ._enums import Ordered
from ._version import by_major


class NetworkDefinitionCreationFlag(Ordered):
    STRONGLY_TYPED = by_major(1, 0)
    PREFER_JIT_PYTHON_PLUGINS = by_major(2, 1)
    PREFER_AOT_PYTHON_PLUGINS = by_major(3, 2)


def fault_of_flags(flags: int) -> str:
    """Why no network has these flags, or nothing."""
    # the real one takes weakly typed networks too, but only TensorRT 10 does
    if flags & 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED):
        return ""
    return "only strongly typed networks are supported"
