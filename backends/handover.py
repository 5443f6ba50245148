"""What a program without this project's runtime has to know to run an artifact in its engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from backends.bounds import Length, Name

Calls = Literal["once", "row by row"]
"""How the artifact is called for a batch: with all of it, or with one row of each tensor."""


@dataclass(frozen=True)
class EngineTensor:
    """A tensor as the engine takes or gives it.

    Attributes:
        tensor: its name in the chain.
        name: its name in the engine's files.
        shape: of what one call takes or gives.
        batch_axis: the axis of the shape that the engine does not count; None where it counts all.
        layout: sizes and strides of the engine's own container, by its own words.
    """

    tensor: Annotated[str, Length(1, 1_000)]
    name: Name
    shape: tuple[int, ...]
    batch_axis: int | None
    layout: Mapping[Name, int]


@dataclass(frozen=True)
class EngineFacts:
    """How an artifact is loaded and called.

    Attributes:
        library: the engine with its version, as it was converted for.
        roles: of each of its files, relative to the bundle: what it is for.
        settings: what has to be set before the files are loaded.
        threads: for a call; 0 leaves the number to the engine.
        calls: how it is called.
        inputs: in the order of the segment's inputs.
        outputs: likewise.
        notes: what is easily done wrong, in sentences.
        language: of the example.
        example: lines of code that load the artifact and call it once.

    Examples:
        >>> EngineFacts("an engine 1.0", {"net/model.bin": "the network"}).calls
        'once'
    """

    library: str
    roles: Mapping[str, str]
    settings: Mapping[Name, bool | int | float | str] = field(default_factory=dict)
    threads: int = 0
    calls: Calls = "once"
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    notes: tuple[str, ...] = ()
    language: str = ""
    example: tuple[str, ...] = ()
