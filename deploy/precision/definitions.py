"""The request and result of a cast, and the types with half precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from backends.contract import DeployError, Segment


class PrecisionError(DeployError):
    """The cast that was requested cannot be made."""


@dataclass(frozen=True)
class CastRequest:
    """The options of a cast.

    Attributes:
        precision: the type to compute in.
        io: whether the segment's float32 inputs and outputs get that type too.
        keep_ops: operators that stay in fp32, such as ``Softmax``.
        keep_nodes: names of nodes that stay in fp32; a node without a name is named by its first
            output.
    """

    precision: Literal["fp16", "bf16"]
    io: bool = False
    keep_ops: tuple[str, ...] = ()
    keep_nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptNode:
    """A node that stays in fp32.

    Attributes:
        node: its name, or that of its first output.
        operator: its operator.
        why: the reason, for people.
    """

    node: str
    operator: str
    why: str


@dataclass(frozen=True)
class CastResult:
    """A segment in half precision.

    Attributes:
        segment: the cast segment. Its specs have other dtypes where inputs and outputs were cast.
        kept: the nodes with float32 values that stay in fp32, in the graph's order.
        cast: the number of nodes that compute in half precision.
    """

    segment: Segment
    kept: tuple[KeptNode, ...]
    cast: int


@dataclass(frozen=True)
class HalfType:
    """A floating-point type of 16 bits.

    Attributes:
        name: its name in recipes.
        dtype: the type.
        schema_name: its name in the operator schemas of ONNX.
        max: its largest finite number.
        smallest_normal: its smallest positive normal number.
    """

    name: str
    dtype: ir.DataType
    schema_name: str
    max: float
    smallest_normal: float


FP16 = HalfType("fp16", ir.DataType.FLOAT16, "tensor(float16)", 65504.0, 2.0**-14)


BF16 = HalfType(
    "bf16", ir.DataType.BFLOAT16, "tensor(bfloat16)", (2 - 2.0**-7) * 2.0**127, 2.0**-126
)


HALF_TYPES = {half.name: half for half in (FP16, BF16)}


SHAPE_OPS = ("Shape", "Size")
"""Operators that read the shape of a tensor alone, and accept every type."""


def node_label(node: ir.Node) -> str:
    """The node's name, or that of its first output."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def is_float32(value: ir.Value | None) -> bool:
    """Whether the value is a float32 tensor."""
    return (
        value is not None
        and isinstance(value.type, ir.TensorType)
        and value.dtype == ir.DataType.FLOAT
    )
