"""Floating-point operations of ONNX nodes, from the shapes of what goes in and comes out.

The convention:

- A multiply-add is 2. A bias is not counted, as in ``torch.utils.flop_counter``.
- Element-wise arithmetic, activations and comparisons are 1 for each element that comes out,
  whatever they cost and whatever the dtype.
- Softmax and the normalisations are what ``_PER_OUTPUT`` says for each element; a reduction or a
  pool is 1 for each element that it looks at.
- Attention is its two products and its softmax, of the whole square even if it is causal. A
  recurrent layer is the products of its gates, for the full length.
- What only moves, makes or reshapes data is 0.
- What depends on the data (If, Loop, TopK, NonMaxSuppression) and what is not in the tables is not
  known, and said so: it is never 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import onnx_ir as ir

from deploy.graph.nodes import is_mark

_NO_SIZES: Mapping[str, int] = MappingProxyType({})


def _each(count: int, kinds: str) -> dict[str, int]:
    return dict.fromkeys(kinds.split(), count)


_FREE = _each(
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
    **_each(1, _ELEMENTWISE),
    **_each(2, "BatchNormalization DequantizeLinear QuantizeLinear"),  # a multiply-add
    **_each(3, "LpNormalization"),  # square, sum, divide
    **_each(4, "RMSNormalization"),  # squares 2, divide, multiply
    **_each(5, "MeanVarianceNormalization"),  # mean, centre, squares 2, divide
    **_each(7, "GroupNormalization InstanceNormalization LayerNormalization"),  # and a multiply-add
    **_each(_SOFTMAX, "LogSoftmax Softmax"),
}


_PER_INPUT: Mapping[str, int] = {
    **_each(1, "ArgMax ArgMin GlobalAveragePool GlobalMaxPool"),
    **_each(1, "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"),
    **_each(2, "ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare"),
}


@dataclass(frozen=True)
class Flops:
    """Operations of the nodes that could be counted, and how many nodes could not."""

    known: int
    unknown: int


def total_flops(nodes: Iterable[ir.Node], sizes: Mapping[str, int] = _NO_SIZES) -> Flops:
    """The sum over the nodes, dynamic dimensions at their ``sizes``."""
    counts = [node_flops(node, sizes) for node in nodes]
    return Flops(sum(count or 0 for count in counts), counts.count(None))


def node_flops(node: ir.Node, sizes: Mapping[str, int] = _NO_SIZES) -> int | None:
    """The operations of one run of the node, by the convention above.

    Args:
        node: any node.
        sizes: the size of each dynamic dimension by its name, such as ``{"batch": 1}``.

    Returns:
        None if a shape that it takes is not known, or the operator is custom, has a body, or is
        none of those in the tables.
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
    """A shape that the count needs is not known; never leaves this file."""


@dataclass(frozen=True)
class _Shapes:
    """A node with the sizes of its tensors."""

    node: ir.Node
    sizes: Mapping[str, int]

    def ins(self, index: int) -> tuple[int, ...]:
        return self._dims(self.node.inputs[index] if self.has(index) else None)

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    @property
    def out(self) -> tuple[int, ...]:
        return self._dims(self.node.outputs[0])

    def _dims(self, value: ir.Value | None) -> tuple[int, ...]:
        if value is None or value.shape is None:
            raise _UnknownSizeError
        return tuple(self._size(dim) for dim in value.shape)

    def _size(self, dim: int | ir.SymbolicDim) -> int:
        size = dim if isinstance(dim, int) else dim.evaluate(self.sizes)
        if not isinstance(size, int):
            raise _UnknownSizeError
        return size


def _count(at: _Shapes) -> int | None:
    kind = at.node.op_type
    if kind in _PER_OUTPUT:
        return _PER_OUTPUT[kind] * prod(at.out)
    if kind in _PER_INPUT:
        return _PER_INPUT[kind] * prod(at.ins(0))
    rule = _RULES.get(kind)
    return rule(at) if rule else None


def _gemm(at: _Shapes) -> int:
    return 2 * prod(at.out) * at.ins(0)[0 if at.node.attributes.get_int("transA", 0) else 1]


def _pool(at: _Shapes) -> int:
    window: tuple[int, ...] = tuple(at.node.attributes.get_ints("kernel_shape", ()))
    return prod(window) * prod(at.out)


def _recurrent(at: _Shapes) -> int:
    *steps, _ = at.ins(0)
    return 2 * prod(steps) * (prod(at.ins(1)) + prod(at.ins(2)))


def _attention(at: _Shapes) -> int:
    """Q is (batch, heads, length, size) or (batch, length, heads * size); so are K and V."""
    query = at.ins(0)
    keys = at.ins(1)[-2] + (at.ins(4)[-2] if at.has(4) else 0)
    rows = prod(query[:-1]) * at.node.attributes.get_int("q_num_heads", 1 if len(query) == 4 else 0)
    return 2 * keys * (prod(query) + prod(at.out)) + _SOFTMAX * rows * keys


def _resize(at: _Shapes) -> int:
    """Each axis that changes its size is interpolated between 2 or 4 neighbours, a multiply-add."""
    taps = {"linear": 2, "cubic": 4}.get(at.node.attributes.get_string("mode", "nearest"))
    if taps is None:
        return 0
    axes = sum(old != new for old, new in zip(at.ins(0), at.out, strict=True))
    return 2 * prod(at.out) * int(taps**axes)


def _einsum(at: _Shapes) -> int | None:
    """Two factors, no ellipsis or diagonal, nothing summed that only one of them has."""
    equation = at.node.attributes.get_string("equation", "").replace(" ", "")
    match = re.fullmatch(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]*)", equation)
    if match is None or any(len(set(term)) < len(term) for term in match.groups()):
        return None
    left, right, out = match.groups()
    summed = set(left + right) - set(out)
    if not summed <= set(left) & set(right):
        return None
    sizes = dict(zip(left + right, at.ins(0) + at.ins(1), strict=True))
    return (2 if summed else 1) * prod(sizes.values())


_RULES: Mapping[str, Callable[[_Shapes], int | None]] = {
    "Attention": _attention,
    # a weight (out, in / groups, kernel...) says what makes one element of the output
    "Conv": lambda at: 2 * prod(at.out) * prod(at.ins(1)[1:]),
    # a weight (in, out / groups, kernel...) says what one element of the input makes
    "ConvTranspose": lambda at: 2 * prod(at.ins(0)) * prod(at.ins(1)[1:]),
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda at: 2 * prod(at.out) * at.ins(0)[-1],
    "Resize": _resize,
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(
        ("Max", "Mean", "Min", "Sum"),
        lambda at: max(1, len(at.node.inputs) - 1) * prod(at.out),
    ),
}
