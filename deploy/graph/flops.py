"""Floating-point operations of ONNX nodes, from the shapes of their inputs and outputs.

The convention:

- A multiply-add counts 2. A bias is not counted, as in ``torch.utils.flop_counter``.
- Element-wise arithmetic, activations and comparisons count 1 for each output element, whatever
  the operation and the dtype.
- Softmax and the normalisations count what ``_PER_OUTPUT`` says for each element; a reduction or a
  pool counts 1 for each element that it reads.
- Attention counts its two products and its softmax, over the whole square even if it is causal. A
  recurrent layer counts the products of its gates, for the full length.
- Operators that only move, create or reshape data count 0.
- Operators whose cost depends on the data (If, Loop, TopK, NonMaxSuppression), and those that are
  not in the tables, are unknown: they are reported, and never count 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import onnx_ir as ir

from deploy.graph.nodes import is_mark
from deploy.graph.symbolic_dims import evaluate_dim

_NO_SIZES: Mapping[str, int] = MappingProxyType({})


def _table(count: int, kinds: str) -> dict[str, int]:
    return dict.fromkeys(kinds.split(), count)


_FREE = _table(
    0,
    """
    Cast CastLike CenterCropPad Compress Concat ConcatFromSequence Constant ConstantOfShape
    DepthToSpace Dropout Expand EyeLike Flatten Gather GatherElements GatherND Identity MaxUnpool
    NonZero OneHot Pad Range Reshape ReverseSequence ScatterElements ScatterND SequenceAt
    SequenceConstruct SequenceEmpty SequenceInsert SequenceLength Shape Size Slice SpaceToDepth
    Split SplitToSequence Squeeze Tile Transpose Trilu Unsqueeze Where
    """,
)


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr
    BitwiseXor Ceil Celu Clip Cos Cosh CumSum Div Elu Equal Erf Exp Floor Gelu Greater
    GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Mish Mod Mul
    Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign
    Sqrt Sub Swish Tan Tanh ThresholdedRelu Xor
    """


_SOFTMAX = 5  # maximum, subtract, exponential, sum, divide


_PER_OUTPUT: Mapping[str, int] = {
    **_table(1, _ELEMENTWISE),
    **_table(2, "BatchNormalization DequantizeLinear QuantizeLinear"),  # a multiply-add
    **_table(3, "LpNormalization"),  # square, sum, divide
    **_table(4, "RMSNormalization"),  # squares 2, divide, multiply
    **_table(5, "MeanVarianceNormalization"),  # mean, centre, squares 2, divide
    **_table(
        7, "GroupNormalization InstanceNormalization LayerNormalization"
    ),  # and a multiply-add
    **_table(_SOFTMAX, "LogSoftmax Softmax"),
}


_PER_INPUT: Mapping[str, int] = {
    **_table(1, "ArgMax ArgMin GlobalAveragePool GlobalMaxPool"),
    **_table(1, "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"),
    **_table(2, "ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare"),
}


@dataclass(frozen=True)
class Flops:
    """Operations of the nodes that could be counted, and how many nodes could not."""

    known: int
    unknown: int


def total_flops(nodes: Iterable[ir.Node], sizes: Mapping[str, int] = _NO_SIZES) -> Flops:
    """The sum over the nodes, with dynamic dimensions of these ``sizes``."""
    counts = [node_flops(node, sizes) for node in nodes]
    return Flops(sum(count or 0 for count in counts), counts.count(None))


def node_flops(node: ir.Node, sizes: Mapping[str, int] = _NO_SIZES) -> int | None:
    """The operations of one run of the node, by the convention above.

    Args:
        node: any node.
        sizes: the size of each dynamic dimension by its name, such as ``{"batch": 1}``.

    Returns:
        None if a shape that the count needs is not known, or the operator is custom, has a body,
        or is not in the tables.
    """
    if is_mark(node):
        return 0
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _FREE:
        return 0
    try:
        return _count(_Shapes(node, sizes))
    except _UnknownSizeError:
        return None


class _UnknownSizeError(Exception):
    """A shape that the count needs is not known; caught in ``node_flops``."""


@dataclass(frozen=True)
class _Shapes:
    """A node with the sizes of its dynamic dimensions, for the shapes of its tensors."""

    node: ir.Node
    sizes: Mapping[str, int]

    def input(self, index: int) -> tuple[int, ...]:
        return self._dims(self.node.inputs[index] if self.has(index) else None)

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    @property
    def output(self) -> tuple[int, ...]:
        return self._dims(self.node.outputs[0])

    def _dims(self, value: ir.Value | None) -> tuple[int, ...]:
        if value is None or value.shape is None:
            raise _UnknownSizeError
        return tuple(self._size(dim) for dim in value.shape)

    def _size(self, dim: int | ir.SymbolicDim) -> int:
        size = dim if isinstance(dim, int) else evaluate_dim(dim, self.sizes)
        if size is None:
            raise _UnknownSizeError
        return size


def _count(shapes: _Shapes) -> int | None:
    kind = shapes.node.op_type
    if kind in _PER_OUTPUT:
        return _PER_OUTPUT[kind] * prod(shapes.output)
    if kind in _PER_INPUT:
        return _PER_INPUT[kind] * prod(shapes.input(0))
    rule = _RULES.get(kind)
    return rule(shapes) if rule else None


def _gemm(shapes: _Shapes) -> int:
    return (
        2
        * prod(shapes.output)
        * shapes.input(0)[0 if shapes.node.attributes.get_int("transA", 0) else 1]
    )


def _pool(shapes: _Shapes) -> int:
    window: tuple[int, ...] = tuple(shapes.node.attributes.get_ints("kernel_shape", ()))
    return prod(window) * prod(shapes.output)


def _recurrent(shapes: _Shapes) -> int:
    *steps, _ = shapes.input(0)
    return 2 * prod(steps) * (prod(shapes.input(1)) + prod(shapes.input(2)))


def _attention(shapes: _Shapes) -> int:
    """Q is (batch, heads, length, size) or (batch, length, heads * size); so are K and V."""
    query = shapes.input(0)
    keys = shapes.input(1)[-2] + (shapes.input(4)[-2] if shapes.has(4) else 0)
    rows = prod(query[:-1]) * shapes.node.attributes.get_int(
        "q_num_heads", 1 if len(query) == 4 else 0
    )
    return 2 * keys * (prod(query) + prod(shapes.output)) + _SOFTMAX * rows * keys


def _resize(shapes: _Shapes) -> int:
    """Each axis that changes its size is interpolated between 2 or 4 neighbours, a multiply-add."""
    taps = {"linear": 2, "cubic": 4}.get(shapes.node.attributes.get_string("mode", "nearest"))
    if taps is None:
        return 0
    axes = sum(old != new for old, new in zip(shapes.input(0), shapes.output, strict=True))
    return 2 * prod(shapes.output) * int(taps**axes)


def _einsum(shapes: _Shapes) -> int | None:
    """Only of two factors, without ellipsis or diagonal, and summed over axes that both have."""
    equation = shapes.node.attributes.get_string("equation", "").replace(" ", "")
    match = re.fullmatch(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]*)", equation)
    if match is None or any(len(set(term)) < len(term) for term in match.groups()):
        return None
    left, right, out = match.groups()
    summed = set(left + right) - set(out)
    if not summed <= set(left) & set(right):
        return None
    sizes = dict(zip(left + right, shapes.input(0) + shapes.input(1), strict=True))
    return (2 if summed else 1) * prod(sizes.values())


_RULES: Mapping[str, Callable[[_Shapes], int | None]] = {
    "Attention": _attention,
    # with a weight (out, in / groups, kernel...): its multiply-adds for each output element
    "Conv": lambda shapes: 2 * prod(shapes.output) * prod(shapes.input(1)[1:]),
    # with a weight (in, out / groups, kernel...): its multiply-adds for each input element
    "ConvTranspose": lambda shapes: 2 * prod(shapes.input(0)) * prod(shapes.input(1)[1:]),
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda shapes: 2 * prod(shapes.output) * shapes.input(0)[-1],
    "Resize": _resize,
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(
        ("Max", "Mean", "Min", "Sum"),
        lambda shapes: max(1, len(shapes.node.inputs) - 1) * prod(shapes.output),
    ),
}
