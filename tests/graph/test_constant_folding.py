"""What follows from fixed sizes becomes a constant, within bounds, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.graph import constant_folding
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.partition.cut_points import PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import run

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
SPEC = TensorSpec("x", "float32", (2, 3, 4))
BATCH = Dynamic("N", 1, 2, 8)
OPEN = TensorSpec("x", "float32", (BATCH, 3, 4))


def parsed(text: str, inputs: str = "float[N,3,4] x", opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (float[A,B] y) {text}'
    )


def saved(folder, model, *inputs, **constants) -> Exported:
    onnx.save(model, folder / "m.onnx")
    return Exported(folder / "m.onnx", inputs or (SPEC,), by_name=True, constants=constants)


def operators(exported) -> list[str]:
    return [node.op_type for node in load_graph(exported, fold=True).graph]


def live_operators(exported, folder) -> list[str]:
    (segment,) = partition(exported, [], folder / "cut").segments
    return [node.op_type for node in ir.load(segment.onnx).graph if node.op_type != "Constant"]


FLATTEN = """{
    shape = Shape(x)
    zero = Constant<value = int64 {0}>()
    batch = Gather<axis = 0>(shape, zero)
    axes = Constant<value = int64[1] {0}>()
    batch1 = Unsqueeze(batch, axes)
    rest = Constant<value = int64[1] {-1}>()
    sizes = Concat<axis = 0>(batch1, rest)
    r = Relu(x)
    y = Reshape(r, sizes)
}"""


def test_chains_that_compute_with_fixed_sizes_are_folded(tmp_path):
    exported = saved(tmp_path, parsed(FLATTEN))
    assert live_operators(exported, tmp_path) == ["Relu", "Reshape"]
    (segment,) = partition(exported, [], tmp_path / "again").segments
    assert str(segment.outputs[0]) == "float32[2, 12]"
    assert (run(segment.onnx, {"x": X})["y"] == X.reshape(2, 12)).all()


def test_a_cut_needs_no_size_of_the_input_behind_it(tmp_path):
    first, second = partition(
        saved(tmp_path, parsed(FLATTEN)), [], tmp_path / "cut", across=[["r"]]
    ).segments
    assert [spec.name for spec in second.inputs] == ["r"]
    assert (run(second.onnx, run(first.onnx, {"x": X}))["y"] == X.reshape(2, 12)).all()


def test_sizes_that_vary_are_read_from_the_input_still(tmp_path):
    exported = saved(tmp_path, parsed(FLATTEN), OPEN)
    assert "Shape" in live_operators(exported, tmp_path)
    (segment,) = partition(exported, [], tmp_path / "again").segments
    for batch in (1, 5):
        x = np.ones((batch, 3, 4), np.float32)
        assert run(segment.onnx, {"x": x})["y"].shape == (batch, 12)


def test_a_fixed_size_beside_one_that_varies_is_folded(tmp_path):
    model = parsed("""{
        shape = Shape(x)
        two = Constant<value = int64[1] {2}>()
        last = Gather<axis = 0>(shape, two)
        rest = Constant<value = int64[1] {-1}>()
        sizes = Concat<axis = 0>(rest, last)
        y = Reshape(x, sizes)
    }""")
    exported = saved(tmp_path, model, OPEN)
    assert live_operators(exported, tmp_path) == ["Reshape"]
    (segment,) = partition(exported, [], tmp_path / "again").segments
    assert run(segment.onnx, {"x": X})["y"].shape == (6, 4)


EXACT = {  # each gives y of two axes from sizes of x, which is [2, 3, 4]
    "division of negative numbers": """
        d = Constant<value = int64 {-2}>() a = Mul(n, d) b = Div(a, n) c = Sub(b, k) q = Div(c, k)
        e = Abs(q) one = Constant<value = int64[1] {0}>() f = Unsqueeze(e, one)""",
    "casts and rounding": """
        h = Cast<to = 1>(n) half = Constant<value = float {0.5}>() m = Mul(h, half) c = Ceil(m)
        i = Cast<to = 7>(c) one = Constant<value = int64[1] {0}>() f = Unsqueeze(i, one)""",
    "comparisons": """
        t = Greater(n, k) w = Where(t, n, k) one = Constant<value = int64[1] {0}>()
        f = Unsqueeze(w, one)""",
    "ranges": """
        z = Constant<value = int64 {0}>() s = Constant<value = int64 {1}>() g = Range(z, n, s)
        f = ReduceSum<keepdims = 1>(g)""",
    "filled tensors": """
        one = Constant<value = int64[1] {0}>() u = Unsqueeze(k, one)
        filled = ConstantOfShape<value = int64[1] {3}>(u) f = ReduceSum<keepdims = 1>(filled)""",
}


@pytest.mark.parametrize("case", EXACT)
def test_folded_values_are_those_that_the_engine_computes(tmp_path, case):
    model = parsed(f"""{{
        shape = Shape(x)
        i0 = Constant<value = int64 {{0}}>() i1 = Constant<value = int64 {{1}}>()
        k = Gather<axis = 0>(shape, i0) n = Gather<axis = 0>(shape, i1)
        {EXACT[case]}
        r = Relu(x) flat = Flatten<axis = 1>(r) as = Cast<to = 1>(f) y = Add(flat, as)
    }}""")
    exported = saved(tmp_path, model)
    assert live_operators(exported, tmp_path) == ["Relu", "Flatten", "Add"]
    (segment,) = partition(exported, [], tmp_path / "again").segments
    whole = run(tmp_path / "m.onnx", {"x": X})["y"]
    assert (run(segment.onnx, {"x": X})["y"] == whole).all()


OLD = {  # the same of older operators, whose axes are attributes
    7: """sl = Slice<axes = [0], starts = [1], ends = [3]>(shape)
        f = ReduceProd<axes = [0], keepdims = 1>(sl)""",
    9: """p, q, o = Split<axis = 0, split = [1, 1, 1]>(shape)
        pq = Concat<axis = 0>(p, q) m = Unsqueeze<axes = [1]>(pq) t = Transpose(m)
        s = ReduceSum<axes = [1], keepdims = 0>(t) f = Add(s, o)""",
    11: """i2 = Constant<value = int64 {2}>() g = Gather<axis = 0>(shape, i2)
        u = Unsqueeze<axes = [0, 1]>(g) v = Squeeze<axes = [1]>(u)
        c = Cast<to = 1>(v) k = Constant<value = float {3.0}>() lo = Clip(c, , k)
        f = Cast<to = 7>(lo)""",
}


@pytest.mark.parametrize("opset", OLD)
def test_older_operators_are_folded_as_they_were_then(tmp_path, opset):
    model = parsed(
        f"""{{ shape = Shape(x) {OLD[opset]}
        r = Relu(x) flat = Flatten<axis = 1>(r) as = Cast<to = 1>(f) y = Add(flat, as) }}""",
        opset=opset,
    )
    exported = saved(tmp_path, model)
    assert live_operators(exported, tmp_path) == ["Relu", "Flatten", "Add"]
    (segment,) = partition(exported, [], tmp_path / "again").segments
    whole = run(tmp_path / "m.onnx", {"x": X})["y"]
    assert (run(segment.onnx, {"x": X})["y"] == whole).all()


BRANCH = """{
    shape = Shape(x)
    i2 = Constant<value = int64[1] {2}>()
    last = Gather<axis = 0>(shape, i2)
    one = Constant<value = int64[1] {1}>()
    single = Equal(last, one)
    r = Relu(x)
    m = If(single)
      <then_branch = t () => (float[P,Q] squeezed) { squeezed = Squeeze(r, i2) },
       else_branch = e () => (float[P,Q,R] kept) { twice = Add(r, r) kept = Neg(twice) }>
    y = Flatten<axis = 1>(m)
}"""


def test_a_branch_that_the_sizes_rule_out_is_gone(tmp_path):
    exported = saved(tmp_path, parsed(BRANCH))
    assert live_operators(exported, tmp_path) == ["Relu", "Add", "Neg", "Flatten"]
    first, second = partition(exported, [], tmp_path / "again", across=[["twice"]]).segments
    assert str(first.outputs[0]) == "float32[2, 3, 4]"
    assert (run(second.onnx, run(first.onnx, {"x": X}))["y"] == -2 * X.reshape(2, 12)).all()


def test_a_branch_whose_names_are_those_of_the_graph_gets_others(tmp_path):
    model = parsed("""{
        yes = Constant<value = bool {1}>()
        r = Relu(x)
        m = If(yes)
          <then_branch = t () => (a) { p = Neg(r) a = Add(p, r) },
           else_branch = e () => (b) { b = Identity(r) }>
        p_2 = Relu(m)
        n = If(yes)
          <then_branch = t2 () => (a) { p = Exp(m) a = Add(p, p_2) },
           else_branch = e2 () => (b) { b = Identity(m) }>
        y = Flatten(n)
    }""")
    for branch in (a.g for node in model.graph.node for a in node.attribute if a.HasField("g")):
        for value in branch.output:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    exported = saved(tmp_path, model)
    names = [str(v.name) for node in load_graph(exported, fold=True).graph for v in node.outputs]
    assert len(names) == len(set(names)) and "If" not in operators(exported)
    (segment,) = partition(exported, [], tmp_path / "cut").segments
    assert (run(segment.onnx, {"x": X})["y"] == 1).all()  # exp(0) + relu(0)


def test_a_branch_that_the_data_decide_stays(tmp_path):
    exported = saved(
        tmp_path,
        parsed(
            """{
        m = If(c) <then_branch = t () => (float[2,3,4] a) { a = Neg(x) },
                   else_branch = e () => (float[2,3,4] b) { b = Relu(x) }>
        y = Flatten(m)
    }""",
            "float[2,3,4] x, bool c",
        ),
        SPEC,
        TensorSpec("c", "bool", ()),
    )
    assert operators(exported) == ["If", "Flatten"]


def test_an_input_with_a_value_is_folded_away(tmp_path):
    model = parsed(
        """{
        rate = Constant<value = int64 {8000}>()
        n = Div(sr, rate)
        axes = Constant<value = int64[1] {0}>()
        first = Unsqueeze(n, axes)
        rest = Constant<value = int64[1] {-1}>()
        sizes = Concat<axis = 0>(first, rest)
        y = Reshape(x, sizes)
    }""",
        "float[N,3,4] x, int64 sr",
    )
    exported = saved(tmp_path, model, SPEC, sr=np.array(16000))
    assert live_operators(exported, tmp_path) == ["Reshape"]
    (segment,) = partition(exported, [], tmp_path / "again").segments
    assert [spec.name for spec in segment.inputs] == ["x"]
    assert str(segment.outputs[0]) == "float32[2, 12]"


def test_a_cut_at_what_is_folded_says_that_it_never_changes(tmp_path):
    exported = saved(tmp_path, parsed(FLATTEN))
    with pytest.raises(PartitionError, match="sizes is the same in every run"):
        partition(exported, [], tmp_path / "cut", across=[["sizes"]])


def test_large_results_stay_as_their_nodes(tmp_path, monkeypatch):
    model = parsed("""{
        sizes = Constant<value = int64[2] {100000, 100000}>()
        huge = ConstantOfShape(sizes)
        z = Constant<value = int64 {0}>() s = Constant<value = int64 {1}>()
        end = Constant<value = int64 {1000000000000}>()
        long = Range(z, end, s)
        total = ReduceSum<keepdims = 0>(huge)
        count = ReduceMax<keepdims = 0>(long)
        c = Cast<to = 1>(count)
        f = Flatten(x)
        a = Add(f, total)
        y = Add(a, c)
    }""")
    assert {"ConstantOfShape", "Range"} <= set(operators(saved(tmp_path, model)))
    monkeypatch.setattr(constant_folding, "_ALL_BYTES", -1)
    assert "Shape" in operators(saved(tmp_path, parsed(FLATTEN)))


def test_arithmetic_of_parameters_stays(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x) => (float[2,3] y) <float[3] w = {1, 2, 3}> { d = Add(w, w) y = Mul(x, d) }
    """)
    assert operators(saved(tmp_path, model, TensorSpec("x", "float32", (2, 3)))) == ["Add", "Mul"]
