"""The backend of a segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class CastRecipe:
    """How a segment is cast to half precision.

    Attributes:
        io: whether its inputs and outputs are cast too.
        keep_ops: operators that stay in fp32.
        keep_nodes: nodes that stay in fp32, by their names.
    """

    io: bool = False
    keep_ops: list[str] = field(default_factory=list)
    keep_nodes: list[str] = field(default_factory=list)


@dataclass
class BackendRecipe:
    """A backend by its folder's name, with its own options.

    Attributes:
        name: the folder's.
        options: the backend's own.
        precision: fp32, fp16 or bf16.
        cast: how half precision is reached.
        build: ``desk`` converts here; ``device`` carries the segment along, and
            ``python -m deploy.runtime finish`` converts it where it runs.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    cast: CastRecipe = field(default_factory=CastRecipe)
    build: str = "desk"
