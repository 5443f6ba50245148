"""The bytes of an engine: what it was built for, and its graph as ONNX Runtime runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ._plan_header import SIZE, header, is_header

_DIGEST = 32  # bytes
_NUMBER = 8


class DamagedError(Exception):
    """These bytes are no plan, or not all of one."""


@dataclass(frozen=True)
class Tensor:
    """An input or output; its sizes are numbers, -1 where they are known only later.

    Attributes:
        symbols: of an input, the names of the dimensions that are set before each call.
    """

    name: str
    is_input: bool
    dtype: str
    shape: list[int]
    symbols: list[str | None]


@dataclass(frozen=True)
class Weight:
    """A weight that can be replaced."""

    dtype: int
    dims: list[int]
    digest: str


Ranges = dict[str, list[list[int]]]  # input -> its least, usual and largest shape


@dataclass(frozen=True)
class Plan:
    """What is known of an engine beside its graph."""

    version: str
    target: dict[str, Any]
    flags: list[str]
    verbosity: str
    name: str
    tensors: list[Tensor]
    profiles: list[Ranges]
    layers: list[str]
    weights: dict[str, Weight]
    weight_bytes: int

    @property
    def stripped(self) -> bool:
        """Whether the weights that can be replaced have been left out."""
        return "STRIP_PLAN" in self.flags

    @property
    def refittable(self) -> bool:
        return self.stripped or bool({"REFIT", "REFIT_IDENTICAL"} & set(self.flags))

    @property
    def has_host_code(self) -> bool:
        """Whether it brings a runtime of its own."""
        return "VERSION_COMPATIBLE" in self.flags and "EXCLUDE_LEAN_RUNTIME" not in self.flags

    def tensor(self, name: str) -> Tensor | None:
        return next((tensor for tensor in self.tensors if tensor.name == name), None)

    def sizes(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """The sizes by the names of their dimensions, where the inputs have these shapes.

        Raises:
            ValueError: two of one name differ.
        """
        found: dict[str, int] = {}
        for tensor in self.tensors:
            for symbol, size in zip(tensor.symbols, shapes.get(tensor.name, ()), strict=False):
                if symbol is not None and found.setdefault(symbol, size) != size:
                    raise ValueError(f"dimension {symbol} is {found[symbol]} and {size}")
        return found


def pack(plan: Plan, model: bytes) -> bytes:
    described = json.dumps(asdict(plan)).encode()
    content = len(described).to_bytes(_NUMBER, "little") + described + model
    first = header(plan.version, plan.target)
    return first + hashlib.sha256(content).digest() + content


def unpack(data: bytes) -> tuple[Plan, bytes]:
    """The plan and its graph.

    Raises:
        DamagedError: what is wrong with the bytes.
    """
    if not is_header(data[:SIZE]):
        raise DamagedError("Serialization assertion plan->header.magicTag == kMAGIC_TAG failed.")
    start = SIZE + _DIGEST
    content = data[start:]
    if hashlib.sha256(content).digest() != data[SIZE:start]:
        raise DamagedError("Serialization assertion plan->header.checksum == checksum failed.")
    end = _NUMBER + int.from_bytes(content[:_NUMBER], "little")
    return _plan(json.loads(content[_NUMBER:end])), content[end:]


def _plan(found: dict[str, Any]) -> Plan:
    found["tensors"] = [Tensor(**tensor) for tensor in found["tensors"]]
    found["weights"] = {name: Weight(**weight) for name, weight in found["weights"].items()}
    return Plan(**found)
