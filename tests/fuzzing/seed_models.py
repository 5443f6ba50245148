"""Small ONNX models with much in them: the seeds of what is mutated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from backends.contract import TensorSpec

MODEL = "model.onnx"
_HEAD = '<ir_version: 10, opset_import: ["" : 21{more}]>\n'

PLAIN = """plain (float[1,3,8,8] x) => (float[1,40] y) {
    a = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w)
    b = Relu (a)
    c = MaxPool <kernel_shape = [2,2], strides = [2,2]> (b)
    d = GlobalAveragePool (c)
    e = Flatten (d)
    f = Gemm <transB = 1> (e, v)
    y = Softmax (f)
}"""
OPEN = """open (float[n,3,h,8] x) => (float[n,k] y, int64[n,k] z, float[p,q,r,s] m) {
    two = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
    m = Resize <mode = "linear"> (x, , two)
    top = Constant <value = int64[1] {2}> ()
    last = Constant <value = int64[1] {-1}> ()
    flat = Flatten (m)
    y, z = TopK <axis = 1> (flat, top)
}"""
CONTROL = """control (float[4] x, bool[1] c, int64[1] n) => (float[4] y, float[k,4] s) {
    one = Constant <value = float {1.0}> ()
    a = Add (x, w)
    choice = Squeeze (c)
    times = Squeeze (n)
    b = If (choice) <
        then_branch = yes () => (float[4] t) { t = Mul (a, one) },
        else_branch = no () => (float[4] e) { u = Sub (a, one)  e = Abs (u) }
    >
    y, s = Loop (times, choice, b) <
        body = turn (int64 i, bool go, float[4] v) => (bool on, float[4] w2, float[4] out) {
            on = Identity (go)
            w2 = Add (v, one)
            out = Identity (w2)
        }
    >
}"""
FUNCTION = """function (float[2,4] x) => (float[2,4] y) {
    a = own.twice <by = 2.0> (x)
    b = own.outer (a)
    y = Tanh (b)
}
<domain: "own", opset_import: ["" : 21]> twice <by> (v) => (r) {
    k = Constant <value_float: float = @by> ()
    r = Mul (v, k)
}
<domain: "own", opset_import: ["" : 21, "own" : 1]> outer (v) => (r) {
    t = own.twice <by = 3.0> (v)
    r = Relu (t)
}"""
QUANT = """quant (float[1,3,8,8] x) => (float[1,4,8,8] y, bool[2] t) {
    scale = Constant <value = float {0.1}> ()
    zero = Constant <value = int8 {0}> ()
    q = QuantizeLinear (x, scale, zero)
    d = DequantizeLinear (q, scale, zero)
    k = DequantizeLinear (wq, scale, zero)
    c = Conv <pads = [1,1,1,1]> (d, k)
    y = Clip (c, zf, sf)
    zf = Constant <value_float = -3.0> ()
    sf = Constant <value_float = 3.0> ()
    names = Constant <value_strings = ["One", "Two"]> ()
    t = Equal (names, names)
}"""
GATHER = """gather (float[6,4] x, int64[3] i) => (float[3,4] y, int64[b,3] k, float[u] z) {
    g = Gather (x, i)
    y = ScatterElements <axis = 0> (g, at, up)
    at = Constant <value = int64[1,4] {0,1,2,0}> ()
    up = Constant <value = float[1,4] {9.0,8.0,7.0,6.0}> ()
    shape = Constant <value = int64[3] {1,6,4}> ()
    boxes = Reshape (x, shape)
    turned = Transpose <perm = [0,2,1]> (boxes)
    most = Constant <value = int64[1] {5}> ()
    limit = Constant <value = float[1] {0.5}> ()
    first = Constant <value = int64[1] {0}> ()
    k = NonMaxSuppression (boxes, turned, most, limit, limit)
    parts = SplitToSequence <axis = 0> (x)
    one = Constant <value = int64 {1}> ()
    part = SequenceAt (parts, one)
    flat = Reshape (part, last)
    last = Constant <value = int64[1] {-1}> ()
    z = Pad <mode = "constant"> (flat, pads)
    pads = Constant <value = int64[2] {1,2}> ()
}"""
RECUR = """recur (float[3,1,4] x) => (float[3,1,1,5] y, float[1,3,3] a) {
    y, h, c = LSTM <hidden_size = 5> (x, w, r)
    t = Transpose <perm = [1,0,2]> (x)
    n = LayerNormalization <axis = -1> (t, g)
    s = Einsum <equation = "bij,bkj->bik"> (n, n)
    e = Softmax <axis = -1> (s)
    o = CumSum (e, axis)
    axis = Constant <value_int = 1> ()
    a = ReduceMean <keepdims = 1, noop_with_empty_axes = 1> (o)
}"""


def write_model(
    name: str, folder: Path
) -> tuple[Path, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write a model, its weights beside it or in it; gives its inputs and outputs."""
    model = _MODELS[name]()
    path = folder / MODEL
    if name == "beside":
        onnx.save(
            model, path, save_as_external_data=True, location=f"{MODEL}.data", size_threshold=0
        )
    else:
        onnx.save(model, path)
    return path, *_specs(model)


def _parsed(text: str, more: str = "", **weights: np.ndarray) -> onnx.ModelProto:
    model = parser.parse_model(_HEAD.format(more=more) + text)
    ordered = sorted(model.graph.node, key=lambda node: node.op_type != "Constant")
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    model.graph.initializer.extend(held)
    return model


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _plain() -> onnx.ModelProto:
    return _parsed(PLAIN, w=_noise(8, 3, 3, 3), v=_noise(40, 8))


def _control() -> onnx.ModelProto:
    model = _parsed(CONTROL, w=_noise(4))
    node = next(node for node in model.graph.node if node.op_type == "Loop")
    node.attribute[0].g.initializer.append(numpy_helper.from_array(_noise(400), "unused"))
    return model


def _gather() -> onnx.ModelProto:
    model = _parsed(GATHER)
    values = numpy_helper.from_array(_noise(2), "sparse")
    places = numpy_helper.from_array(np.array([1, 5], np.int64), "places")
    sparse = helper.make_sparse_tensor(values, places, [6, 4])
    model.graph.sparse_initializer.append(sparse)
    model.graph.node.append(helper.make_node("Constant", [], ["dense"], sparse_value=sparse))
    model.graph.node.append(helper.make_node("Add", ["dense", "sparse"], ["sum"]))
    model.metadata_props.add(
        key="ort_config", value='{"session_options": {"intra_op_num_threads": 1}}'
    )
    return model


def _recur() -> onnx.ModelProto:
    return _parsed(RECUR, w=_noise(1, 20, 4), r=_noise(1, 20, 5), g=_noise(4))


def _quant() -> onnx.ModelProto:
    return _parsed(QUANT, wq=(_noise(4, 3, 3, 3) * 9).astype(np.int8))


_MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "plain": _plain,
    "beside": _plain,
    "open": lambda: _parsed(OPEN),
    "control": _control,
    "function": lambda: _parsed(FUNCTION, ', "own" : 1'),
    "quant": _quant,
    "gather": _gather,
    "recur": _recur,
}
NAMES = tuple(_MODELS)
_OPEN_SIZE = 2


def _specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    inputs, outputs = (
        tuple(_spec(value, fixed) for value in values)
        for values, fixed in ((model.graph.input, True), (model.graph.output, False))
    )
    return inputs, outputs


def _spec(value: onnx.ValueInfoProto, fixed: bool) -> TensorSpec:
    tensor = value.type.tensor_type
    dims = [dim.dim_value or _OPEN_SIZE for dim in tensor.shape.dim]
    known = all(dim.dim_value for dim in tensor.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(value.name, dtype, tuple(dims) if fixed or known else None)
