"""Precision: every small graph casts to a valid file that agrees; what cannot be half stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from backends.acceptance import Tolerance
from backends.error_metrics import compare_all, worst
from backends.onnx.specs import read_segment
from deploy.precision.definitions import FP16, CastRequest
from deploy.precision.node_selection import select_nodes
from tests.cutsuite.own import own_cases, ramp
from tests.helpers import graphs
from tests.helpers.half_precision import AnySize, cast, kept, run_half, segment_of, types
from tests.helpers.reference_run import run_unoptimized

BOUNDS = {"fp16": Tolerance(1e-2, 0.9999), "bf16": Tolerance(5e-2, 0.999)}
X = {"x": ramp(2, 3)}
LEFT_OUT = {
    "text": "strings are no numbers",
    "sequence_in": "a segment takes tensors alone",
    "sequence_out": "a segment gives tensors alone",
    "odd_numbers": "an output is bfloat16, which NumPy does not have",
    "functions": "its functions have another opset, which onnx's checker refuses",
    "body_in_a_function": "its function has another opset, which onnx's checker refuses",
    "deep": "5,000 times one operator takes 5 s",
}
OWN = {case.name: case for case in own_cases() if case.name not in LEFT_OUT}
STEEP = {"external_weights": Tolerance(0.3, 0.99)}  # an exponential of large sums


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("make", graphs.GRAPHS.values(), ids=graphs.GRAPHS)
def test_small_graphs(tmp_path, make, precision):
    segment = make(tmp_path / "net.onnx")
    noise = np.random.default_rng(0)
    sample = {
        spec.name: noise.standard_normal(spec.typical).astype(np.float32) for spec in segment.inputs
    }
    casting = cast(segment, sample, precision)
    assert casting.kept == ()
    gap = worst(
        compare_all(run_unoptimized(segment.onnx, sample), run_half(casting.segment, sample))
    )
    assert BOUNDS[precision].admits(gap)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", OWN)
def test_own_graphs(tmp_path, name, precision):
    segment = read_segment(OWN[name].write(tmp_path), name, AnySize())
    for inputs in OWN[name].inputs():
        sample = dict(zip([spec.name for spec in segment.inputs], inputs, strict=True))
        casting = cast(segment, sample, precision)
        expected, found = run_unoptimized(segment.onnx, sample), run_half(casting.segment, sample)
        assert {n: v.dtype for n, v in found.items()} == {n: v.dtype for n, v in expected.items()}
        bound = STEEP.get(name, BOUNDS[precision])
        assert all(bound.admits(gap) for gap in compare_all(expected, found))


@pytest.mark.parametrize("name", ["if", "loop", "scan"])
def test_bodies_stay_in_fp32_and_say_so(tmp_path, name):
    segment = read_segment(OWN[name].write(tmp_path), name, AnySize())
    (inputs,) = OWN[name].inputs()[:1]
    sample = dict(zip([spec.name for spec in segment.inputs], inputs, strict=True))
    whys = {node.operator: node.why for node in cast(segment, sample).kept}
    assert whys[name.capitalize()] == "needs fp32 (what is computed in a body cannot be measured)"


def test_operators_in_bodies_may_be_named(tmp_path):
    segment = read_segment(OWN["scan"].write(tmp_path), "scan", AnySize())
    assert cast(
        segment, {"x": ramp(4, 3)}, CastRequest("fp16", keep_ops=("Scan", "Tanh", "Mul"))
    ).kept


def test_sizes_are_computed_in_fp32(tmp_path):
    segment = segment_of(
        """(float[1,2,h,7] x) => (float[1,2,k,m] y)
        {
          a = Relu(x)
          n = Shape<start = 2>(a)
          f = Cast<to = 1>(n)
          third = Constant<value_float = 1.3333>()
          g = Mul(f, third)
          whole = Cast<to = 7>(g)
          one = Constant<value_ints = [1, 2]>()
          sizes = Concat<axis = 0>(one, whole)
          b = Resize<mode = "linear">(a, , , sizes)
          y = Tanh(b)
        }""",
        tmp_path,
    )
    sample = {"x": ramp(1, 2, 2049, 7) / 20000}
    casting = cast(segment, sample)
    still = "follows from sizes and weights alone"
    assert kept(casting) == {"f": still, "g": still, "whole": still}
    assert types(casting.segment)["a"] == "FLOAT16"
    assert run_half(casting.segment, sample)["y"].shape == (1, 2, 2731, 9)


def test_the_scales_of_a_resize_stay_fp32_while_it_computes_in_half(tmp_path):
    segment = segment_of(
        "(float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}>"
        ' { a = Relu(x)\n b = Resize<mode = "nearest">(a, , s)\n y = Tanh(b) }',
        tmp_path,
    )
    casting = cast(segment, {"x": ramp(1, 1, 2, 2)})
    assert (casting.cast, casting.kept) == (3, ())
    assert types(casting.segment)["b"] == "FLOAT16"


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ("y = QuantizeLinear(a, s)", "needs fp32 (its scale)"),
        ("y = NonMaxSuppression(z, a)", "needs fp32 (NonMaxSuppression has no fp16 at opset 20)"),
        (
            "y = RandomNormalLike(a)",
            "needs fp32 (an output's type does not follow from its inputs)",
        ),
        ("y = com.other.Unknown(a)", "needs fp32 (a value of it is no tensor of a known type)"),
        ("y = SequenceConstruct(a)", "needs fp32 (a value of it is no tensor of a known type)"),
        ("y = own.Twice(a)", "needs fp32 (it calls a function)"),
    ],
)
def test_what_cannot_be_half_says_why(nodes, why):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20, "com.other" : 1, "own" : 1]>'
        f"g (float[1,2,4] x, float[1,2,4] z, float s) => (y) {{ a = Neg(x)\n {nodes} }}"
        '<domain: "own", opset_import: ["" : 20]> Twice (p) => (q) { q = Add(p, p) }'
    )
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    choice = select_nodes(typed, FP16, CastRequest("fp16"))
    assert list(choice.kept.values()) == [why]
    assert len(choice.half) == 1


def test_what_only_moves_values_between_nodes_in_fp32_does_not_round_them(tmp_path):
    segment = segment_of(
        """(float[2,3] x) => (float[3,2] y)
        {
          a = Exp(x)
          b = Transpose(a)
          c = Identity(b)
          d = Log(c)
          y = Neg(d)
        }""",
        tmp_path,
    )
    casting = cast(segment, X, CastRequest("fp16", keep_ops=("Exp", "Log")))
    moves = "moves values that are fp32 before and behind it"
    assert kept(casting) == {"a": "asked", "b": moves, "c": moves, "d": "asked"}
    assert types(casting.segment)["c"] == "FLOAT"


def test_a_table_is_looked_up_in_half_where_half_reads_it(tmp_path):
    segment = segment_of(
        "(float[2,3] x) => (float[2,3] y) <int64[2] places = {1, 0}>"
        " { row = Gather(table, places)\n y = Add(row, x) }",
        tmp_path,
        table=ramp(4, 3),
    )
    casting = cast(segment, X)
    assert (casting.cast, casting.kept) == (2, ())
    assert types(casting.segment)["row"] == "FLOAT16"
