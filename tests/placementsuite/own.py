"""Graphs that the cut suite lacks: those where an automatic partition could go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from tests.cutsuite import own as cut_own
from tests.cutsuite.cases import Case, Inputs

# the random values are levelled out, so that two runs agree
RANDOM_NODES = """(float[2,3] x) => (float[2,3] y)
{
  r = RandomUniform<shape = [2, 3]>()
  s = RandomUniform<shape = [2, 3]>()
  levelled = Floor(r)
  a = Neg(x)
  b = Add(a, levelled)
  both = Mul(r, s)
  zero = Floor(both)
  c = Exp(b)
  y = Add(c, zero)
}"""
RANDOM_OUTPUT = """(float[2,3] x) => (float[2,3] y, float[2,3] z)
{
  r = RandomUniform<low = 1.0, high = 1.0, shape = [2, 3]>()
  z = Identity(r)
  a = Neg(x)
  y = Exp(a)
}"""
QUANTISED_BRANCHES = """(float[2,3] x) => (float[2,3] y, float[2,3] z)
<float scale = {0.25}, int8[3] w = {-8, 3, 70}>
{
  q = QuantizeLinear(x, scale)
  a = DequantizeLinear(q, scale)
  k = DequantizeLinear(w, scale)
  b = DequantizeLinear(q, scale)
  c = Mul(a, k)
  d = Tanh(b)
  p = QuantizeLinear(c, scale)
  e = DequantizeLinear(p, scale)
  y = Add(e, d)
  z = Sub(d, k)
}"""
RESIDUAL_BLOCKS = """(float[2,4] x) => (float[2,4] y)
<float[4,4] w = {0.5, -1.0, 0.25, 2.0, 1.0, 0.5, -0.5, 0.125, 0.25, -2.0, 1.0, 0.5, -1.0, 0.5, 2.0,
 -0.25}>
{
  a = MatMul(x, w)
  b = Softmax<axis = 1>(a)
  c = Add(b, x)
  d = MatMul(c, w)
  e = Tanh(d)
  f = MatMul(e, w)
  g = Add(f, c)
  h = MatMul(g, w)
  i = Softmax<axis = 1>(h)
  j = Add(i, g)
  k = MatMul(j, w)
  l = Tanh(k)
  y = Add(l, x)
}"""
SEPARATE_BRANCHES = """(float[2,3] x, float[2,3] u) => (float[2,3] y, float[2,3] z)
{
  a = Neg(x)
  b = Exp(a)
  c = Tanh(u)
  d = Abs(c)
  e = Sigmoid(d)
  f = Sqrt(e)
  y = Tanh(b)
  z = Neg(f)
}"""
TWO_SEQUENCES = """(float[4,3] x) => (float[2,3] y)
<int64 one = {1}, int64 none = {0}, int64[2] sizes = {2, 2}>
{
  a = Neg(x)
  parts = SplitToSequence<axis = 0>(a, sizes)
  first = SequenceAt(parts, none)
  second = SequenceAt(parts, one)
  b = Exp(first)
  again = SequenceConstruct(b, second)
  c = SequenceAt(again, one)
  d = SequenceAt(again, none)
  e = Tanh(d)
  y = Add(c, e)
}"""
OPTIONAL_PATHS = """(float[2,3] x) => (float[2,3] y, bool there)
{
  a = Neg(x)
  maybe = Optional(a)
  there = OptionalHasElement(maybe)
  b = Exp(a)
  c = OptionalGetElement(maybe)
  y = Add(b, c)
}"""
UNUSED_RESULTS = """(float[1,2,4,4] x) => (float[1,2,4,4] y)
<float high = {6.0}, int64[1] two = {2}>
{
  a = Clip(x, , high)
  kept, mask = Dropout(a)
  best, places = TopK<axis = 3>(kept, two)
  left, right = Split<axis = 3, num_outputs = 2>(kept)
  c = Add(left, best)
  d = Concat<axis = 3>(c, right)
  y = Tanh(d)
}"""
BODIES_FROM_TWO_REGIONS = """(float[2,3] x, bool c) => (float[2,3] y)
<int64 count = {2}>
{
  a = Neg(x)
  b = Exp(a)
  d = Tanh(a)
  yes = Constant<value = bool {1}>()
  last = Loop(count, yes, b) <
    body = turn (int64 i, bool go, float[2,3] sum) => (bool again, float[2,3] more) {
      again = Identity(go)
      t = Add(sum, d)
      more = Mul(t, a)
    }
  >
  y = If(c) <
    then_branch = one () => (float[2,3] p) { p = Sub(last, d) },
    else_branch = two () => (float[2,3] q) { q = Mul(last, b) }
  >
}"""
_INPUTS: dict[str, list[Inputs]] = {
    "residual_blocks": [[cut_own.ramp(2, 4)]],
    "separate_branches": [[cut_own.X, -cut_own.X]],
    "two_sequences": [[cut_own.ramp(4, 3)]],
    "unused_results": [[cut_own.ramp(1, 2, 4, 4)]],
    "bodies_from_two_regions": [
        [cut_own.X, np.array(True)],
        [cut_own.X, np.array(False)],
    ],
}


def own_cases() -> Iterator[Case]:
    """These graphs, then those of the cut suite."""
    for name, text in globals().items():
        if name.isupper() and isinstance(text, str):
            key = name.lower()
            make = partial(cut_own.parsed, text)
            yield Case(key, "own", make, partial(_inputs, key))
    yield from cut_own.own_cases()


def _inputs(name: str) -> list[Inputs]:
    return _INPUTS.get(name, [[cut_own.X]])
