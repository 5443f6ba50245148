"""Definitions of a cast: what is requested, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from backends.contract import DeployError, Segment


class PrecisionError(DeployError):
    """A cast that cannot be made as it was asked for."""


@dataclass(frozen=True)
class CastRequest:
    """What is asked for.

    Attributes:
        precision: the type to compute in.
        io: whether the segment's float32 inputs and outputs get that type too.
        keep_ops: operators that stay in fp32, such as ``Softmax``.
        keep_nodes: nodes that stay in fp32, by their names; one without a name has that of its
            first output.
    """

    precision: Literal["fp16", "bf16"]
    io: bool = False
    keep_ops: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptNode:
    """A node that stays in fp32, and why."""

    node: str
    operator: str
    why: str


@dataclass(frozen=True)
class CastResult:
    """What came of it.

    Attributes:
        segment: the cast file. Its specs have other dtypes where inputs and outputs were to be
            cast too.
        kept: the nodes with float32 values that stay in fp32, in the graph's order.
        cast: how many nodes compute in half precision now.
    """

    segment: Segment
    kept: tuple[KeptNode, ...]
    cast: int


@dataclass(frozen=True)
class HalfType:
    """A floating-point type of 16 bits.

    Attributes:
        name: as recipes call it.
        dtype: the type.
        in_schemas: its name in the schemas of ONNX.
        largest: its largest finite number.
        normal: the smallest positive number that has all its digits.
    """

    name: str
    dtype: ir.DataType
    in_schemas: str
    largest: float
    normal: float


FP16 = HalfType("fp16", ir.DataType.FLOAT16, "tensor(float16)", 65504.0, 2.0**-14)


BF16 = HalfType(
    "bf16", ir.DataType.BFLOAT16, "tensor(bfloat16)", (2 - 2.0**-7) * 2.0**127, 2.0**-126
)


HALVES = {half.name: half for half in (FP16, BF16)}


SIZES = ("Shape", "Size")  # operators that ask for no values, and take every type


def node_label(node: ir.Node) -> str:
    """The node's name, or that of its first output."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def is_float(value: ir.Value | None) -> bool:
    """Whether the value is a float32 tensor."""
    return (
        value is not None
        and isinstance(value.type, ir.TensorType)
        and value.dtype == ir.DataType.FLOAT
    )
