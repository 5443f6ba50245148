"""What is asked of a parser and builder about a model, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backends.contract import Specs

Verdict = Literal[
    "built",
    "parsed",
    "refused by the parser",
    "refused by the builder",
    "refused by the converter",
    "no end in time",
    "crash",
]


@dataclass(frozen=True)
class Task:
    """A model to parse, and to build if it parses.

    Attributes:
        name: unique in its suite.
        model: the ONNX file.
        shapes: the sizes of each input, for a profile.
        values: the values of inputs that decide shapes.
        inputs: of the same file as a segment: the project's own converter builds it then.
        outputs: likewise.
        build: whether it is built.
    """

    name: str
    model: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: Specs = ()
    outputs: Specs = ()
    build: bool = True


@dataclass(frozen=True)
class Refusal:
    """An error of the parser.

    Attributes:
        code: the name of its kind.
        node: the number of the node, or -1.
        name: the node's name.
        operator: the node's operator.
        text: the library's reason.
    """

    code: str
    node: int
    name: str
    operator: str
    text: str


@dataclass(frozen=True)
class NetworkTensor:
    """An input or output of a network; -1 is a size that varies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    decides_shapes: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        name: the task's.
        verdict: how far it got.
        why: the reason for an end before ``built``.
        refusals: the parser's errors.
        inputs: of the network.
        outputs: of the network.
        layers: how many of each kind the network has.
        nodes: how many the graph has.
        listed: how many of them the parser lists in subgraphs without those that it refuses.
        groups: how many such subgraphs there are.
        taken: how many nodes are in those subgraphs that it parses as models of their own.
        groups_taken: how many such subgraphs there are.
        size: of the engine, in bytes.
        seconds: for parsing and building.
    """

    name: str
    verdict: Verdict
    why: str = ""
    refusals: tuple[Refusal, ...] = ()
    inputs: tuple[NetworkTensor, ...] = ()
    outputs: tuple[NetworkTensor, ...] = ()
    layers: Mapping[str, int] = field(default_factory=dict)
    nodes: int = 0
    listed: int = 0
    groups: int = 0
    taken: int = 0
    groups_taken: int = 0
    size: int = 0
    seconds: float = 0.0
