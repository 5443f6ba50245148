"""Which networks there are: strongly typed ones."""

from __future__ import annotations

from ._enums import Ordered


class NetworkDefinitionCreationFlag(Ordered):
    STRONGLY_TYPED = 0


def fault_of_flags(flags: int) -> str:
    """Why no network has these flags, or nothing."""
    if flags < 1 << len(NetworkDefinitionCreationFlag):
        return ""
    return (
        "Parameter check failed, condition: flagSet.toU32() < "
        "(1U << EnumMax<NetworkDefinitionCreationFlag>())."
    )
