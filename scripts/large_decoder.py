"""A decoder of a large language model's size: a graph, and 20 GB of weights in a sparse file.

The file is one hole that reads as zeros: making it takes neither time nor disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

LAYERS = 32
_WIDTH, _HEADS, _HIDDEN, _WORDS, _TOKENS = 4096, 32, 7168, 32000, 512

_MODEL = """
<ir_version: 10, opset_import: ["" : 18]>
decoder (int64[1, {tokens}] ids, float[{tokens}, {tokens}] mask)
    => (float[1, {tokens}, {width}] t{layers})
<int64[4] heads = {{1, {tokens}, {heads}, {head}}}, int64[3] whole = {{1, {tokens}, {width}}},
 float scale = {{{scale}}}, float epsilon = {{0.00001}}, float two = {{2}}, int64[1] last = {{-1}}>
{{
  t0 = Gather (words, ids)
  {body}
}}
"""

_NORM = """
  @squared = Pow ({x}, two)
  @mean = ReduceMean (@squared, last)
  @positive = Add (@mean, epsilon)
  @root = Sqrt (@positive)
  @scaled = Div ({x}, @root)
  @normed = Mul (@scaled, @norm)
"""

_HEAD = """
  @product = MatMul ({x}, @weight)
  @parted = Reshape (@product, heads)
  @head = Transpose <perm = [{order}]> (@parted)
"""

_ATTENTION = """
  @scores = MatMul (@query_head, @key_head)
  @scaled = Mul (@scores, scale)
  @masked = Add (@scaled, mask)
  @shares = Softmax (@masked)
  @values = MatMul (@shares, @value_head)
  @ordered = Transpose <perm = [0, 2, 1, 3]> (@values)
  @joined = Reshape (@ordered, whole)
  @product = MatMul (@joined, @out_weight)
  @attended = Add ({x}, @product)
"""

_MLP = """
  @gate = MatMul (@second_normed, @gate_weight)
  @sigmoid = Sigmoid (@gate)
  @open = Mul (@gate, @sigmoid)
  @up = MatMul (@second_normed, @up_weight)
  @gated = Mul (@open, @up)
  @down = MatMul (@gated, @down_weight)
  {y} = Add (@attended, @down)
"""


def make_decoder(path: Path) -> None:
    """Write the graph, with tensors ``t0``, ``t1``... between its layers, and its weights."""
    model = onnx.parser.parse_model(_text())
    data, offset = f"{path.name}.data", 0
    for name, shape in _weights():
        length = 4 * math.prod(shape)
        weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        put_beside(weight, data, offset, length)
        model.graph.initializer.append(weight)
        offset += length
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), path)
    with path.with_name(data).open("wb") as file:
        file.truncate(offset)


def put_beside(weight: TensorProto, location: str, offset: int, length: int) -> None:
    """Say that a tensor's bytes lie in another file."""
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=str(value))


def _text() -> str:
    return _MODEL.format(
        tokens=_TOKENS,
        width=_WIDTH,
        layers=LAYERS,
        heads=_HEADS,
        head=_WIDTH // _HEADS,
        scale=(_WIDTH // _HEADS) ** -0.5,
        body="".join(map(_layer, range(LAYERS))),
    )


def _layer(number: int) -> str:
    normed = "@first_normed"
    parts = (
        _NORM.replace("@", "@first_").format(x=f"t{number}"),
        _HEAD.replace("@", "@query_").format(x=normed, order="0, 2, 1, 3"),
        _HEAD.replace("@", "@key_").format(x=normed, order="0, 2, 3, 1"),
        _HEAD.replace("@", "@value_").format(x=normed, order="0, 2, 1, 3"),
        _ATTENTION.format(x=f"t{number}"),
        _NORM.replace("@", "@second_").format(x="@attended"),
        _MLP.format(y=f"t{number + 1}"),
    )
    return "".join(parts).replace("@", f"layer{number}_")


def _weights() -> Iterator[tuple[str, list[int]]]:
    yield "words", [_WORDS, _WIDTH]
    for number in range(LAYERS):
        for name in ("first_norm", "second_norm"):
            yield f"layer{number}_{name}", [_WIDTH]
        for name in ("query", "key", "value", "out"):
            yield f"layer{number}_{name}_weight", [_WIDTH, _WIDTH]
        for name in ("gate", "up"):
            yield f"layer{number}_{name}_weight", [_WIDTH, _HIDDEN]
        yield f"layer{number}_down_weight", [_HIDDEN, _WIDTH]
