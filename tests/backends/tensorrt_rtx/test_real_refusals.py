"""What NVIDIA's own parser and builder make of difficult graphs: an engine, or a named reason."""

from __future__ import annotations

import os
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.backends.tensorrt_rtx.real_conversions import command, convert_each
from tests.cutsuite.own_built import deep

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
HEADER = '<ir_version: 10, opset_import: ["" : 21, "com.example" : 1]>\ng '
BUILT = r"^\S+: fp32, [\d,]+ bytes, not checked"
BORDER = "expected one of float32, float16, int8, uint8, int32, int64, bool at its border, got "
LOOP_BODY = """<body = b (int64 i, bool c, float[2,3] v) => (bool k, float[2,3] w) {
    k = Identity(c)
    w = Add(v, v)
}>"""
OTHERWISE = "else_branch = b () => (float[2,3] u) { u = Neg(x) }"
BOXES = "<int64 most = {3}, float iou = {0.5}, float least = {0.1}>"
REGIONS = "RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2>"

GRAPHS = {  # name: graph, what the converter says
    "int64": ("(int64[2,3] x) => (int64[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "int8": ("(int8[2,3] x) => (int8[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "bool": ("(bool[2,3] x, bool[2,3] z) => (bool[2,3] y) { [both] y = And(x, z) }", BUILT),
    "half": ("(float16[2,3] x) => (float16[2,3] y) { [sum] y = Add(x, x) }", BUILT),
    "bytes_cast": ("(uint8[2,3] x) => (float[2,3] y) { [cast] y = Cast <to = 1> (x) }", BUILT),
    "bytes_added": (
        "(uint8[2,3] x) => (uint8[2,3] y) { [sum] y = Add(x, x) }",
        r"  Add 'sum': .* requires inputs with type .* But type is UInt8",
    ),
    "bfloat16_at_the_border": (
        "(bfloat16[2,3] x) => (bfloat16[2,3] y) { [sum] y = Add(x, x) }",
        f"tensor 'x': {BORDER}bfloat16",
    ),
    "int16": (
        "(int16[2,3] x) => (int16[2,3] y) { [sum] y = Add(x, x) }",
        "  input 'x': .*Failed to convert ONNX date type",
    ),
    "text": (
        "(string[2] x) => (string[2] y) { [same] y = Identity(x) }",
        "  input 'x': .*Failed to convert ONNX date type",
    ),
    "double_at_the_border": (
        "(double[2,3] x) => (double[2,3] y) { [deep] y = Relu(x) }",
        f"tensor 'x': {BORDER}float64",
    ),
    "double_as_a_result": (
        "(float[2,3] x) => (double[2,3] y) { [wide] y = Cast <to = 11> (x) }",
        f"tensor 'y': {BORDER}float64",
    ),
    "doubles_inside": (  # the parser narrows them to fp32
        "(float[2,3] x) => (float[2,3] y) { [wide] a = Cast <to = 11> (x)"
        "\n [deep] b = Add(a, a) \n [narrow] y = Cast <to = 1> (b) }",
        BUILT,
    ),
    "nine_dimensions": (
        "(float[1,1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,1,2] y) { [r] y = Relu(x) }",
        "  input 'x': .*Failed to convert ONNX dimensions",
    ),
    "scalar": ("(float x) => (float y) { [r] y = Relu(x) }", BUILT),
    "empty_input": ("(float[0,3] x) => (float[0,3] y) { [none] y = Relu(x) }", BUILT),
    "empty_weight": (
        "(float[2,3] x) => (float[2,3] y) <float[0,3] w = {}>"
        "{ [join] y = Concat <axis = 0> (x, w) }",
        BUILT,
    ),
    "empty_inside": (
        "(float[2,3] x) => (float[0,3] y) <int64[1] at = {0}>"
        "{ [cut] a = Slice(x, at, at, at) \n [none] y = Relu(a) }",
        BUILT,
    ),
    "empty_batch": ("(float[n,3] x) => (float[n,3] y) { [some] y = Relu(x) }", BUILT),
    "suppression": (
        f"(float[1,8,4] b, float[1,2,8] s) => (int64[K,3] y) {BOXES}"
        "{ [suppress] y = NonMaxSuppression(b, s, most, iou, least) }",
        "builds no plan: .*suppress_0 has no runners that implement it",
    ),
    "regions": (
        "(float[1,2,8,8] f, float[n,4] r, int64[n] b) => (float[n,2,2,2] y)"
        f"{{ [pool] y = {REGIONS} (f, r, b) }}",
        r"(?s)RoiAlign 'pool': .*works only where CUDA does: no NVIDIA driver here",
    ),
    "if": (
        "(float[2,3] x, bool c) => (float[2,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[2,3] t) {{ t = Relu(x) }}, {OTHERWISE}> }}",
        BUILT,
    ),
    "if_of_two_sizes": (
        "(float[2,3] x, bool c) => (float[A,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[4,3] t) {{ t = Concat <axis = 0> (x, x) }}, {OTHERWISE}> }}",
        BUILT,
    ),
    "if_of_two_ranks": (
        "(float[2,3] x, bool c) => (float[A,B] y) <int64[1] s = {6}> { [choose] y = If (c) <"
        "then_branch = a () => (float[2,3] t) { t = Relu(x) },"
        "else_branch = b () => (float[6] u) { u = Reshape(x, s) }> }",
        "builds no plan: .*choose_OutputLayer: Must have inputs with equal ranks",
    ),
    "loop": (
        "(float[2,3] x) => (float[2,3] y) <int64 n = {3}, bool go = {1}>"
        f"{{ [again] y = Loop (n, go, x) {LOOP_BODY} }}",
        BUILT,
    ),
    "loop_as_often_as_an_input_says": (
        "(float[2,3] x, int64 n) => (float[2,3] y) <bool go = {1}>"
        f"{{ [again] y = Loop (n, go, x) {LOOP_BODY} }}",
        BUILT,
    ),
    "scan": (
        "(float[4,3] x, float[3] z) => (float[3] y, float[4,3] r) { [walk] y, r = Scan (z, x) <"
        "num_scan_inputs = 1, body = b (float[3] s, float[3] e) => (float[3] t, float[3] o)"
        "{ t = Add(s, e) \n o = Identity(t) }> }",
        BUILT,
    ),
    "sequence": (
        "(float[4,3] x) => (float[2,3] y) <int64 at = {0}>"
        "{ [parts] q = SplitToSequence <axis = 0> (x) \n [pick] y = SequenceAt(q, at) }",
        r"  SplitToSequence 'parts': refused by \w+\n  SequenceAt 'pick': refused by",
    ),
    "sequence_in_a_branch": (
        "(float[2,3] x, bool c) => (float[2,3] y) <int64 at = {0}> { [choose] y = If (c) <"
        "then_branch = a () => (float[2,3] t) { [list] q = SequenceConstruct(x)"
        f"\n [pick] t = SequenceAt(q, at) }}, {OTHERWISE}> }}",
        "  SequenceAt 'pick': refused by",
    ),
    "custom": (
        "(float[2,3] x) => (float[2,3] y) { [mine] y = com.example.Own(x) }",
        "  Own 'mine': .*Plugin not found",
    ),
    "custom_in_a_branch": (
        "(float[2,3] x, bool c) => (float[2,3] y) { [choose] y = If (c) <then_branch = "
        f"a () => (float[2,3] t) {{ [mine] t = com.example.Own(x) }}, {OTHERWISE}> }}",
        "  Own 'mine': .*Plugin not found",
    ),
    "custom_without_a_name": (
        "(float[2,3] x) => (float[2,3] y) { a = Relu(x) \n y = com.example.Own(a) }",
        "  Own 'number 1': .*Plugin not found",
    ),
    "places_of_nonzeros": (
        "(float[2,3] x) => (int64[2,K] y) { [find] y = NonZero(x) }",
        "  NonZero 'find': .*plugin creator version 1 was not found",
    ),
    "kept_rows": (
        "(float[4,3] x, bool[4] c) => (float[K,3] y) { [keep] y = Compress <axis = 0> (x, c) }",
        "  Compress 'keep': refused by",
    ),
    "size_from_an_input": (
        "(float[2,6] x, int64[2] s) => (float[A,B] y) { [shape] y = Reshape(x, s) }",
        "the values of input 's' decide shapes",
    ),
    "sizes_that_contradict": (
        "(float[2,3] x) => (float[2,3] y) <int64[1] s = {7}>"
        "{ [fold] a = Reshape(x, s) \n [r] y = Relu(a) }",
        r"  Reshape 'fold': .*reshape changes volume. Reshaping \[2,3\] to \[7\]",
    ),
    "a_tensor_that_is_not_there": (
        "(float[2,3] x) => (float[2,3] y) { [sum] y = Add(x, nowhere) }",
        "  Add 'sum': .*Node input was not registered",
    ),
    "a_circle": (
        "(float[2,3] x) => (float[2,3] y)"
        "{ [a] a = Add(x, b) \n [b] b = Relu(a) \n [sum] y = Add(x, b) }",
        "\n  Assertion failed: .*Failed to sort the model topologically",
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What the converter says of each graph; one process converts them all."""
    folder = tmp_path_factory.mktemp("graphs")
    commands = {}
    for name, (text, _) in GRAPHS.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx.parser.parse_model(HEADER + text).SerializeToString())
        commands[name] = command(path, "--range", "n=0,2,4")
    return convert_each(commands)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_difficult_graph_ends_in_an_engine_or_in_a_refusal_that_says_where(said, name):
    assert re.search(GRAPHS[name][1], said[name]), said[name]


def test_a_refusal_has_nothing_of_a_missing_driver_that_is_not_its_reason(said):
    refused = {name: text for name, text in said.items() if text.startswith("error: ")}
    assert len(refused) > 10
    about_drivers = [name for name, text in refused.items() if "driver" in text]
    assert about_drivers == ["regions"]


def test_a_refusal_says_nothing_of_the_segment_before(said):
    assert "RoiAlign" not in said["if_of_two_ranks"]


def test_weights_beside_the_file_come_into_the_engine(tmp_path):
    made = onnx.parser.parse_model(
        HEADER + "(float[64,1024] x) => (float[64,1024] y) { [m] y = MatMul(x, w) }"
    )
    weight = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    path = tmp_path / "beside.onnx"
    onnx.save(made, path, save_as_external_data=True, location="beside.onnx.data")
    lonely = tmp_path / "lonely" / "beside.onnx"
    lonely.parent.mkdir()
    lonely.write_bytes(path.read_bytes())
    texts = convert_each({"beside": command(path), "lonely": command(lonely)})
    (size,) = re.findall(r"fp32, ([\d,]+) bytes", texts["beside"])
    assert int(size.replace(",", "")) > weight.nbytes
    assert re.search(r"beside\.onnx\.data", texts["lonely"])
    assert texts["lonely"].startswith("error: ")


@pytest.mark.slow
def test_a_chain_of_5000_operators_does_not_overflow_the_builders_stack(tmp_path):
    path = tmp_path / "deep.onnx"
    onnx.save(deep(5_000), path)
    assert re.search(BUILT, convert_each({"deep": command(path)})["deep"])


@pytest.mark.slow
@pytest.mark.skipif(MEMORY < 12 << 30, reason="the builder needs 7 GB")
def test_weights_of_more_than_2_gb_come_into_the_engine():
    with tempfile.TemporaryDirectory() as folder:  # pytest would keep the files of three runs
        path = Path(folder, "large.onnx")
        total = save_large(path, size=17_000, count=2)
        text = convert_each({"large": command(path)})["large"]
    assert re.search(BUILT, text), text
    (size,) = re.findall(r"fp32, ([\d,]+) bytes", text)
    assert int(size.replace(",", "")) > total > 2 << 30


def save_large(path: Path, size: int, count: int) -> int:
    """Save a chain of products with weights in a sparse file; the bytes of these weights."""
    names = ["x", *(f"a{number}" for number in range(1, count)), "y"]
    nodes = [
        helper.make_node("MatMul", [names[number], f"w{number}"], [names[number + 1]])
        for number in range(count)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name in "xy"]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:])
    data, each = path.with_name("large.onnx.data"), 4 * size * size
    with data.open("wb") as file:
        file.truncate(count * each)
        for number in range(count):  # equal weights would be in the engine once
            file.seek(number * each)
            file.write(struct.pack("f", number + 1))
            weight = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[size, size])
            weight.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", data.name),
                ("offset", number * each),
                ("length", each),
            ):
                entry = weight.external_data.add()
                entry.key, entry.value = key, str(value)
            graph.initializer.append(weight)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return count * each
