"""Rewrites for ncnn: each converts, runs and agrees; and leaves alone what it must not touch."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.acceptance import TOLERANCES
from backends.error_metrics import compare
from backends.ncnn import Options
from backends.ncnn.conversion.fixed_graph import FixedGraph
from backends.ncnn.conversion.pnnx import MODEL, run_pnnx
from backends.ncnn.conversion.rewrites import rewrite_graph
from backends.ncnn.conversion.rewrites.biases import add_zero_biases
from backends.ncnn.conversion.rewrites.rotations import keep_rotations_apart
from backends.ncnn.convert import convert
from backends.ncnn.run import load
from backends.onnx.specs import read_segment

IMAGE = [1, 4, 8, 8]
ATTENTION = {name: [1, 2, 6, 8] for name in "qkv"}
EMPTY_ROW = np.pad(np.full((1, 6), -np.inf, np.float32), ((2, 3), (0, 0)))[None, None]
CAUSAL = np.triu(np.full((6, 6), -np.inf, np.float32), 1)[None, None]


def node(operator, inputs, outputs="y", **attributes):
    return helper.make_node(
        operator, inputs.split(), outputs.split(), name=f"the_{operator}", **attributes
    )


def ints(*values):
    return np.array(values, np.int64)


def noise(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def model_of(nodes, inputs, outputs, weights=None, opset=18):
    """A float32 model; the shapes of its outputs are given, or inferred."""
    shapes = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in shapes.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model)
    return model


def attention(mask, inputs=ATTENTION, first_mask=None):
    """Scaled dot-product attention with the guard that torch writes behind its softmax."""
    nodes = [
        node("Transpose", "k", "turned", perm=[0, 1, 3, 2]),
        node("MatMul", "q turned", "scores"),
        node("Mul", "scores scale", "scaled"),
        *([] if first_mask is None else [node("Add", "scaled first", "scaled_once")]),
        node("Add", f"{'scaled' if first_mask is None else 'scaled_once'} mask", "masked"),
        node("Softmax", "masked", "p", axis=-1),
        node("IsNaN", "p", "nan"),
        node("Where", "nan zero p", "kept"),
        node("MatMul", "kept v"),
    ]
    weights = {"scale": np.float32(0.3), "zero": np.float32(0)}
    weights |= {} if mask is None else {"mask": mask}
    weights |= {} if first_mask is None else {"first": first_mask}
    return model_of(nodes, inputs, ["y"], weights)


def cross_attention(queries=6, source="z"):
    """Attention with its projections, to the places of the second input."""
    nodes, weights = [], {"wo": noise(16, 16), "scale": np.float32(8**0.5)}
    weights |= {"heads": ints(1, -1, 2, 8), "joined": ints(1, queries, 16)}
    for name, read in (("q", "x"), ("k", source), ("v", source)):
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        weights[f"w{name}"] = noise(16, 16) * 0.3
        nodes += [
            node("MatMul", f"{read} w{name}", f"{name}1"),
            node("Reshape", f"{name}1 heads", f"{name}3"),
            node("Transpose", f"{name}3", f"{name}4", perm=perm),
        ]
    nodes += [
        node("MatMul", "q4 k4", "scores"),
        node("Div", "scores scale", "scaled"),
        node("Softmax", "scaled", "p", axis=-1),
        node("MatMul", "p v4", "o"),
        node("Transpose", "o", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned joined", "all"),
        node("MatMul", "all wo"),
    ]
    inputs = {"x": [1, queries, 16]} | ({} if source == "x" else {"z": [1, 4, 16]})
    return model_of(nodes, inputs, ["y"], weights)


def sliced_attention():
    """Attention whose queries, keys and values are slices of one tensor, as in SVTR."""
    nodes = [
        node("MatMul", "x w", "all"),
        node("Reshape", "all split", "parts"),
        node("Transpose", "parts", "turned", perm=[2, 0, 3, 1, 4]),
    ]
    weights = {"w": noise(16, 48) * 0.3, "wo": noise(16, 16), "scale": np.float32(8**0.5)}
    weights |= {"split": ints(1, 4, 3, 2, 8), "joined": ints(1, 4, 16), "axis": ints(0)}
    for number, name in enumerate("qkv"):
        weights |= {f"s{name}": ints(number), f"e{name}": ints(number + 1)}
        nodes += [
            node("Slice", f"turned s{name} e{name} axis", f"{name}1"),
            node("Squeeze", f"{name}1 axis", f"{name}2"),
        ]
    nodes += [
        node("Transpose", "k2", "k3", perm=[0, 1, 3, 2]),
        node("MatMul", "q2 k3", "scores"),
        node("Div", "scores scale", "scaled"),
        node("Softmax", "scaled", "p", axis=-1),
        node("MatMul", "p v2", "o"),
        node("Transpose", "o", "back", perm=[0, 2, 1, 3]),
        node("Reshape", "back joined", "seen"),
        node("MatMul", "seen wo"),
    ]
    return model_of(nodes, {"x": [1, 4, 16]}, ["y"], weights)


def sliced(starts, ends, axes, steps, shape=IMAGE):
    bounds = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}
    nodes = [node("Relu", "x", "r"), node("Slice", "r s e a t")]
    return model_of(nodes, {"x": shape}, ["y"], bounds)


def focus(two_steps):
    """The first layer of YOLOv5: four strided slices, of both axes at once or of one by one."""
    parts = [(0, 0), (1, 0), (0, 1), (1, 1)]
    weights = {"w": noise(5, 12, 1, 1), "end": ints(2**63 - 1), "step": ints(2)}
    weights |= {"ends": ints(8, 8), "steps": ints(2, 2), "rows": ints(2), "columns": ints(3)}
    weights |= {"both": ints(2, 3)} | {f"s{place}": ints(place) for place in (0, 1)}
    nodes = []
    for row, column in parts:
        name = f"{row}{column}"
        if two_steps:
            nodes.append(node("Slice", f"x s{row} end rows step", f"h{name}"))
            nodes.append(node("Slice", f"h{name} s{column} end columns step", f"p{name}"))
        else:
            weights[f"start{name}"] = ints(row, column)
            nodes.append(node("Slice", f"x start{name} ends both steps", f"p{name}"))
    names = " ".join(f"p{row}{column}" for row, column in parts)
    nodes += [node("Concat", names, "cat", axis=1), node("Conv", "cat w")]
    return model_of(nodes, {"x": [1, 3, 8, 8]}, ["y"], weights)


def reduced(operator, axes, keepdims, shape=IMAGE):
    nodes = [node("Sigmoid", "x", "r"), node(operator, "r axes", keepdims=keepdims)]
    return model_of(nodes, {"x": shape}, ["y"], {"axes": ints(*axes)})


def resized(opset=18, size=16, shape=IMAGE, **attributes):
    """With scales, or with sizes for two axes where ``axes`` are given."""
    weights = {"sizes": ints(*shape[:2], size, size)}
    if "axes" in attributes:
        weights = {"sizes": ints(size, size)}
    inputs = ["x", "", "", "sizes"]
    if opset < 13:
        weights["none"] = np.zeros(0, np.float32)
        inputs = ["x", "none", "none", "sizes"]
    resize = helper.make_node("Resize", inputs, ["y"], name="the_Resize", **attributes)
    return model_of([resize], {"x": shape}, ["y"], weights, opset)


def recurrent(operator, outputs, rows=1, *, zero_state=False, squeezed="y3", axis=1):
    gates = {"GRU": 3, "LSTM": 4}[operator]
    weights = {"w": noise(1, gates * 4, 3), "r": noise(1, gates * 4, 4), "b": noise(1, gates * 8)}
    weights |= {"axis": ints(axis), "zeros": np.zeros((1, rows, 4), np.float32)}
    attributes = {"linear_before_reset": 1} if operator == "GRU" else {}
    inputs = ["x", "w", "r", "b", *(["", "zeros"] if zero_state else [])]
    layer = helper.make_node(operator, inputs, outputs, name="layer", hidden_size=4, **attributes)
    nodes = [layer, node("Squeeze", f"{squeezed} axis")]
    return model_of(nodes, {"x": [5, rows, 3]}, ["y"], weights)


def passed(operator, inputs="x", weights=None, shape=IMAGE, **attributes):
    """A node that gives its input back, as the whole model."""
    return model_of([node(operator, inputs, **attributes)], {"x": shape}, ["y"], weights)


def selected(condition):
    nodes = [node("Relu", "x", "r"), node("Where", "c r other")]
    return model_of(nodes, {"x": IMAGE}, ["y"], {"c": condition, "other": np.float32(-7)})


HALF = np.random.default_rng(0).random((1, 4, 8, 8)) > 0.5
ROLLED = {"x": [1, 2, 6, 8]}


def normalised(*nodes):
    """What pnnx fuses to a layer of its own, written with axes that are an input."""
    weights = {"axis": ints(-1), "channel": ints(1), "two": np.float32(2)}
    weights |= {"eps": np.float32(1e-5), "shape": ints(*IMAGE)}
    return model_of([node("Relu", "x", "r"), *nodes], {"x": IMAGE}, ["y"], weights)


MODELS = {
    "attention to another tensor": cross_attention,
    "attention to another tensor of the same size": lambda: cross_attention(queries=4),
    "a normalisation of vectors": lambda: normalised(
        node("ReduceL2", "r channel", "length"),
        node("Clip", "length eps", "positive"),
        node("Expand", "positive shape", "wide"),
        node("Div", "r wide"),
    ),
    "a layer normalisation": lambda: normalised(
        node("ReduceMean", "r axis", "mean"),
        node("Sub", "r mean", "centred"),
        node("Pow", "centred two", "square"),
        node("ReduceMean", "square axis", "variance"),
        node("Add", "variance eps", "more"),
        node("Sqrt", "more", "deviation"),
        node("Div", "centred deviation"),
    ),
    "a softmax in steps": lambda: normalised(
        node("ReduceMax", "r channel", "top"),
        node("Sub", "r top", "below"),
        node("Exp", "below", "powers"),
        node("ReduceSum", "powers channel", "total"),
        node("Div", "powers total"),
    ),
    "focus": lambda: focus(False),
    "focus in two steps": lambda: focus(True),
    "every third row of an odd number": lambda: sliced([1], [8], [2], [3]),
    "every second channel": lambda: sliced([1], [4], [1], [2]),
    "every second of a sequence": lambda: sliced([0], [7], [1], [2], [1, 7, 6]),
    "a slice without axes": lambda: model_of(
        [node("Relu", "x", "r"), node("Slice", "r s e")],
        {"x": IMAGE},
        ["y"],
        {"s": ints(0, 1), "e": ints(1, 3)},
    ),
    "space to depth": lambda: passed("SpaceToDepth", blocksize=2),
    "depth to space, blocks first": lambda: passed("DepthToSpace", blocksize=2),
    "gather of several": lambda: model_of(
        [node("Relu", "x", "r"), node("Gather", "r i", axis=1)],
        {"x": IMAGE},
        ["y"],
        {"i": ints(2, 3, 0, -1)},
    ),
    "tile": lambda: model_of(
        [node("Relu", "x", "r"), node("Tile", "r n")], {"x": IMAGE}, ["y"], {"n": ints(1, 1, 2, 3)}
    ),
    "clip to computed bounds": lambda: model_of(
        [node("ReduceMean", "x", "low", keepdims=0), node("Clip", "x low high")],
        {"x": IMAGE},
        ["y"],
        {"high": np.float32(0.5)},
    ),
    "clip to bounds that are inputs": lambda: model_of(
        [node("Clip", "x low high")], {"x": IMAGE, "low": [], "high": []}, ["y"]
    ),
    "a choice by a constant": lambda: selected(HALF),
    "a choice of everything": lambda: selected(np.ones((1, 4, 8, 8), bool)),
    "the guard of a causal mask": lambda: attention(CAUSAL),
    "one axis of a reduction, normalised": lambda: model_of(
        [
            node("Mul", "x x", "square"),
            node("ReduceMean", "square axes", "mean"),
            node("Sqrt", "mean", "root"),
            node("Div", "x root"),
        ],
        {"x": IMAGE},
        ["y"],
        {"axes": ints(1)},
    ),
    "one axis that is computed from sizes": lambda: model_of(
        [
            node("Shape", "x", "shape"),
            node("Size", "shape", "rank"),
            node("Sub", "rank one", "last"),
            node("Unsqueeze", "last zero", "axes"),
            node("ReduceMean", "x axes"),
        ],
        {"x": IMAGE},
        {"y": [1, 4, 8, 1]},
        {"one": np.int64(1), "zero": ints(0)},
    ),
    "one axis of two rows": lambda: reduced("ReduceMean", [2], 0, [2, 4, 8, 8]),
    "one axis of a matrix": lambda: reduced("ReduceSum", [-1], 1, [5, 6]),
    "all axes": lambda: model_of(
        [node("Sigmoid", "x", "r"), node("ReduceMean", "r", keepdims=0)], {"x": IMAGE}, ["y"]
    ),
    "a guard of a mask that is an input": lambda: attention(
        None, {**ATTENTION, "mask": [1, 1, 6, 6]}
    ),
    "a guard of a mask with an empty row": lambda: attention(EMPTY_ROW),
    "a guard of a mask whose smallest number is finite": lambda: attention(
        np.maximum(EMPTY_ROW, np.finfo(np.float32).min)
    ),
    "a guard of two masks": lambda: attention(CAUSAL, first_mask=CAUSAL[..., ::-1].copy()),
    **{
        f"the power of {power}": lambda power=power: passed(
            "Pow", "x power", {"power": np.float32(power)}
        )
        for power in (2, 3, 4, 7)
    },
    "nearest with half pixels": lambda: resized(mode="nearest"),
    "nearest with half pixels, opset 11": lambda: resized(11, mode="nearest"),
    "linear over named axes": lambda: resized(mode="linear", axes=[2, 3]),
    "windows of a picture": lambda: model_of(
        [
            node("Reshape", "x sizes", "split"),
            node("Transpose", "split", "turned", perm=[0, 1, 3, 2, 4, 5]),
            node("Reshape", "turned windows"),
        ],
        {"x": [1, 8, 12, 5]},
        ["y"],
        {"sizes": ints(1, 2, 4, 3, 4, 5), "windows": ints(6, 16, 5)},
    ),
    "a transpose of five axes": lambda: model_of(
        [
            node("Reshape", "x sizes", "split"),
            node("Transpose", "split", "turned", perm=[2, 0, 3, 1, 4]),
            node("Reshape", "turned flat"),
        ],
        {"x": [1, 6, 24]},
        ["y"],
        {"sizes": ints(1, 6, 3, 2, 4), "flat": ints(3, 2, 6, 4)},
    ),
    "heads that share their keys": lambda: model_of(
        [
            node("Relu", "x", "r"),
            node("Unsqueeze", "r two", "apart"),
            node("Expand", "apart sizes", "repeated"),
            node("Reshape", "repeated heads"),
        ],
        {"x": [1, 2, 6, 8]},
        ["y"],
        {"two": ints(2), "sizes": ints(1, 2, 3, 6, 8), "heads": ints(1, 6, 6, 8)},
    ),
    "a rotary embedding": lambda: rotary_embedding(),
    "an attention without biases": lambda: projected_attention(),
    "the last state of a GRU": lambda: recurrent("GRU", ["", "yh"], squeezed="yh", axis=0),
    "the last state of an LSTM": lambda: recurrent("LSTM", ["", "yh"], squeezed="yh", axis=0),
    "a GRU of two rows and a state of zeros": lambda: recurrent("GRU", ["y3"], 2, zero_state=True),
    "identity": lambda: passed("Identity"),
    "dropout": lambda: passed("Dropout"),
    "a sum of one": lambda: passed("Sum"),
    "a maximum of one": lambda: passed("Max"),
    "a concatenation of one": lambda: passed("Concat", axis=1),
    "a resize to the same size": lambda: resized(size=8),
    "a reshape to the same shape": lambda: passed("Reshape", "x s", {"s": ints(0, -1, 8, 8)}),
    "an addition of 0": lambda: passed("Add", "x zero", {"zero": np.float32(0)}),
    "a pad of nothing": lambda: passed("Pad", "x pads", {"pads": ints(*[0] * 8)}),
    "a squeeze that is undone": lambda: model_of(
        [node("Squeeze", "x a", "q"), node("Unsqueeze", "q a")], {"x": IMAGE}, ["y"], {"a": ints(0)}
    ),
    "an addition to 0": lambda: passed("Add", "zero x", {"zero": np.zeros(IMAGE, np.float32)}),
    "what depends on no input": lambda: model_of(
        [
            node("Gather", "table rows", "row"),
            node("MatMul", "row table", "product"),
            node("Sin", "product", "wave"),
            node("Add", "x wave"),
        ],
        {"x": IMAGE},
        ["y"],
        {"table": noise(8, 8), "rows": ints(5)},
    ),
    "an input beside a result": lambda: model_of(
        [node("Relu", "x"), node("Identity", "x", "z")], {"x": IMAGE}, ["y", "z"]
    ),
    "a result twice": lambda: model_of(
        [node("Relu", "x"), node("Identity", "y", "z")], {"x": IMAGE}, ["y", "z"]
    ),
    **{
        f"{operator} over {axes}, keepdims={keepdims}": (
            lambda operator=operator, axes=axes, keepdims=keepdims: reduced(
                operator, axes, keepdims
            )
        )
        for operator, axes, keepdims in [
            ("ReduceMean", [1], 0),
            ("ReduceMean", [3], 1),
            ("ReduceSum", [2], 0),
            ("ReduceL1", [1], 1),
            ("ReduceL2", [-1], 0),
            ("ReduceLogSumExp", [2], 1),
            ("ReduceSumSquare", [1], 0),
            ("ReduceLogSum", [1], 1),
            ("ReduceProd", [1], 0),
            ("ReduceMax", [1], 0),
            ("ReduceMax", [2, 3], 1),
            ("ReduceMin", [-1], 1),
            ("ReduceMin", [1, 2, 3], 0),
        ]
    },
}


def inputs_of(model):
    rng = np.random.default_rng(0)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    values = {name: np.asarray(rng.standard_normal(s), np.float32) for name, s in shapes.items()}
    if "mask" in values:  # of an attention, here with an empty row
        values["mask"] = np.minimum(CAUSAL + EMPTY_ROW, values["mask"])
    return values


def run(model, inputs):
    names = [value.name for value in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(names, inputs), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_the_converted_net_computes_what_the_graph_does(name, tmp_path):
    model = MODELS[name]()
    inputs = inputs_of(model)
    onnx.save(model, tmp_path / "net.onnx")
    segment = read_segment(tmp_path / "net.onnx", "net", {})
    (tmp_path / "out").mkdir()
    artifact = convert(segment, Options(), tmp_path / "out")
    with load(artifact, tmp_path / "out") as runner:
        results = runner(inputs)
    for tensor, value in run(model, inputs).items():
        metrics = compare(tensor, value, results[tensor])
        assert results[tensor].shape == value.shape
        assert metrics.max_rel < 1e-5 and TOLERANCES["fp32"].admits(metrics)


def rewritten(model):
    """The rewritten graph; its weights are those of a copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }
    graph = FixedGraph(copy, shapes)
    rewrite_graph(graph)
    return graph.model


@pytest.mark.parametrize("name", MODELS)
def test_the_rewritten_graph_is_valid_and_computes_the_same(name):
    model = MODELS[name]()
    inputs = inputs_of(model)
    after = rewritten(model)
    onnx.checker.check_model(after)
    for tensor, value in run(after, inputs).items():
        np.testing.assert_allclose(value, run(model, inputs)[tensor], rtol=1e-5, atol=1e-6)


LEFT_ALONE = {
    "attention of a tensor to itself": lambda: cross_attention(queries=4, source="x"),
    "attention of slices of a tensor": sliced_attention,
    "a slice of neighbours": lambda: sliced([1], [3], [1], [1]),
    "a slice backwards": lambda: sliced([-1], [-9], [3], [-1]),
    "a clip to constants": lambda: model_of(
        [node("Clip", "x low high")],
        {"x": IMAGE},
        ["y"],
        {"low": np.float32(0), "high": np.float32(6)},
    ),
    "a choice by a computed condition": lambda: model_of(
        [node("Greater", "x zero", "c"), node("Where", "c x zero")],
        {"x": IMAGE},
        ["y"],
        {"zero": np.float32(0)},
    ),
    "a guard of anything else": lambda: model_of(
        [node("Log", "x", "p"), node("IsNaN", "p", "nan"), node("Where", "nan zero p")],
        {"x": IMAGE},
        ["y"],
        {"zero": np.float32(0)},
    ),
    "several axes of a mean": lambda: reduced("ReduceMean", [2, 3], 0),
    "axes of a product": lambda: reduced("ReduceProd", [1], 1),
    "axes that are no neighbours": lambda: reduced("ReduceMax", [1, 3], 1),
    "one axis as an attribute": lambda: model_of(
        [node("ReduceMax", "x", axes=[1])], {"x": IMAGE}, ["y"], opset=13
    ),
    "a gather by a computed index": lambda: model_of(
        [node("ArgMax", "i", "at", axis=0, keepdims=1), node("Gather", "x at", axis=1)],
        {"x": IMAGE, "i": [4]},
        ["y"],
    ),
    "nearest neighbours of another rule": lambda: resized(mode="nearest", nearest_mode="ceil"),
    "an antialiased resize": lambda: resized(mode="linear", antialias=1, axes=[2, 3], size=4),
    "a dropout whose mask is used": lambda: model_of(
        [node("Dropout", "x", "y m"), node("Cast", "m", "z", to=TensorProto.FLOAT)],
        {"x": IMAGE},
        ["y", "z"],
    ),
    "an addition of something": lambda: passed("Add", "x one", {"one": np.float32(1)}),
    "a pad of something": lambda: passed("Pad", "x pads", {"pads": ints(0, 0, 1, 0, 0, 0, 0, 0)}),
    "a choice between integers": lambda: model_of(
        [
            node("Cast", "x", "a", to=TensorProto.INT64),
            node("Where", "c a b", "n"),
            node("Cast", "n", to=TensorProto.FLOAT),
        ],
        {"x": IMAGE},
        ["y"],
        {"c": np.arange(8) < 3, "b": ints(2)},
    ),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_a_rewrite_does_not_fit_is_left_alone(name):
    model = LEFT_ALONE[name]()
    after = rewritten(model)
    before = [(item.op_type, [*item.input], [*item.output]) for item in model.graph.node]
    assert [(item.op_type, [*item.input], [*item.output]) for item in after.graph.node] == before


def test_a_net_without_its_axis_would_be_wrong(tmp_path, monkeypatch):
    """The control: without the rewrite, pnnx gives a mean over no axis, with exit code 0."""
    from backends.ncnn.conversion.diagnosis import diagnose

    model = MODELS["one axis of a reduction, normalised"]()
    onnx.save(model, tmp_path / "net.onnx")
    segment = read_segment(tmp_path / "net.onnx", "net", {})
    (tmp_path / "pnnx").mkdir()
    ended = run_pnnx(model, [(1, 4, 8, 8)], tmp_path / "pnnx")
    assert diagnose(ended, segment.inputs, segment.outputs) is None
    assert " -23303=0 " in ended.param.read_text()


def test_what_depends_on_no_input_becomes_a_weight():
    after = rewritten(MODELS["what depends on no input"]())
    assert [item.op_type for item in after.graph.node] == ["Add"]


def test_numbers_that_are_drawn_at_random_are_no_weight():
    nodes = [node("RandomNormal", "", "drawn", shape=IMAGE), node("Add", "x drawn")]
    after = rewritten(model_of(nodes, {"x": IMAGE}, ["y"]))
    assert [item.op_type for item in after.graph.node] == ["RandomNormal", "Add"]


def test_half_precision_keeps_the_guard_of_a_mask_that_may_be_empty():
    model = attention(None, {**ATTENTION, "mask": [1, 1, 6, 6]})
    shapes = {name: tuple(shape) for name, shape in ATTENTION.items()} | {"mask": (1, 1, 6, 6)}
    graph = FixedGraph(model, shapes, half=True)
    rewrite_graph(graph)
    assert "IsNaN" in [item.op_type for item in graph.model.graph.node]


def projected_attention():
    """An attention whose projections have no bias, and whose values are those of another tensor."""
    shape = ints(1, 6, 2, 4)
    nodes = [node("Add", "x places", "placed")]
    for name, source in (("q", "placed"), ("k", "placed"), ("v", "x")):
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", f"{source} w{name}", f"{name}1"),
            node("Reshape", f"{name}1 heads", f"{name}2"),
            node("Transpose", f"{name}2", f"{name}3", perm=perm),
        ]
    nodes += [
        node("Mul", "q3 scale", "q4"),
        node("MatMul", "q4 k3", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p v3", "seen"),
        node("Transpose", "seen", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned flat", "joined"),
        node("MatMul", "joined wo"),
    ]
    weights = {f"w{name}": noise(8, 8) for name in "qkvo"} | {"places": noise(1, 6, 8)}
    weights |= {"heads": shape, "flat": ints(1, 6, 8), "scale": np.float32(0.5)}
    return model_of(nodes, {"x": [1, 6, 8]}, ["y"], weights)


def test_pnnx_crashes_on_an_attention_without_biases_and_zeros_help(tmp_path):
    model, shapes = projected_attention(), [(1, 6, 8)]
    (tmp_path / "without").mkdir()
    assert run_pnnx(model, shapes, tmp_path / "without").failure == "signal SIGABRT"
    graph = FixedGraph(model, {"x": (1, 6, 8)})
    assert add_zero_biases(graph)
    assert not add_zero_biases(graph)
    (tmp_path / "with").mkdir()
    assert not run_pnnx(graph.model, shapes, tmp_path / "with").failure


def rotary_embedding():
    bounds = {"zero": ints(0), "half": ints(4), "end": ints(8), "axis": ints(3)}
    nodes = [
        node("Mul", "x cosine", "kept"),
        node("Slice", "x zero half axis", "first"),
        node("Slice", "x half end axis", "second"),
        node("Neg", "second", "negated"),
        node("Concat", "negated first", "turned", axis=-1),
        node("Mul", "turned sine", "moved"),
        node("Add", "kept moved"),
    ]
    angles = {"cosine": noise(1, 1, 16, 8), "sine": noise(1, 1, 16, 8)[..., ::-1].copy()}
    return model_of(nodes, {"x": [1, 2, 16, 8]}, ["y"], bounds | angles)


def test_pnnx_makes_a_layer_of_three_axes_of_a_rotary_embedding_unless_it_is_kept_apart(tmp_path):
    graph = FixedGraph(rewritten(rotary_embedding()), {"x": (1, 2, 16, 8)})
    for name in ("fused", "apart"):
        (tmp_path / name).mkdir()
        run = run_pnnx(graph.model, [(1, 2, 16, 8)], tmp_path / name)
        assert ("RotaryEmbed" in run.param.read_text()) == (name == "fused")
        assert keep_rotations_apart(graph)


def test_nodes_of_one_name_are_numbered_for_pnnx(tmp_path):
    model = MODELS["the power of 7"]()
    run_pnnx(rewritten(model), [tuple(IMAGE)], tmp_path)
    names = [item.name for item in onnx.load(tmp_path / MODEL).graph.node]
    assert names == ["the_Pow", "the_Pow.0", "the_Pow.1", "the_Pow.2"]
