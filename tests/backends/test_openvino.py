"""OpenVINO's own traps."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from backends.codec import to_json
from backends.contract import Artifact, ConversionError, Dynamic, EngineError, Segment, TensorSpec
from backends.openvino import Options
from backends.process.child import Limits, run_limited
from tests.helpers.graphs import conv, decode, save

if "openvino" not in os.environ.get("DEPLOY_TEST_BACKENDS", "openvino").split(","):
    pytest.skip("openvino is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.openvino.convert import convert
from backends.openvino.ir import check_ir
from backends.openvino.run import load

ROOT = Path(__file__).parents[2]
Tensor = tuple[str, str, list]


def graph(path: Path, nodes: list, inputs: list[Tensor], outputs: list[Tensor], **weights):
    """A segment of tensors of any dtype."""
    infos = [
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
            )
            for name, dtype, shape in tensors
        ]
        for tensors in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = helper.make_graph(nodes, path.stem, *infos, stored)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=10), path)
    given, taken = (
        tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in tensors)
        for tensors in (inputs, outputs)
    )
    return Segment(path.stem, path, given, taken)


def converted(segment: Segment, out: Path, **options: object) -> Artifact:
    out.mkdir(exist_ok=True)
    return convert(segment, Options(**options), out)


def opened(segment: Segment, out: Path, **options: object):
    return load(converted(segment, out, **options), out)


def test_fp32_is_told_to_be_fp32_in_the_engine_and_in_the_file(tmp_path):
    with opened(conv(tmp_path / "conv.onnx"), tmp_path / "out", threads=1) as runner:
        told = runner._compiled.get_property
        assert told("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        assert "ACCURACY" in str(told("EXECUTION_MODE_HINT"))
        assert told("INFERENCE_NUM_THREADS") == 1
    text = (tmp_path / "out" / "model.xml").read_text()
    assert 'element_type="f32"' in text and "f16" not in text
    assert (tmp_path / "out" / "model.bin").stat().st_size == 4 * 5 * 3 * 3 * 3


@pytest.mark.parametrize("dtype", ["float16", "int8", "int16", "int32", "int64", "uint8", "bool"])
def test_tensors_keep_their_dtype_also_where_the_engine_computes_in_another(dtype, tmp_path):
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    segment = graph(tmp_path / "m.onnx", nodes, [("x", dtype, [2])], [("y", dtype, [4])])
    x = np.array([1, 0], dtype)
    with opened(segment, tmp_path / "out") as runner:
        y = runner({"x": x})["y"]
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.concatenate([x, x]))


@pytest.mark.parametrize("shape", [[], [0, 4], [3]])
def test_scalars_and_empty_tensors_go_through(shape, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    segment = save(tmp_path / "m.onnx", nodes, {"x": shape}, {"y": shape}, {})
    with opened(segment, tmp_path / "out") as runner:
        for value in (2.0, -3.0):
            x = np.full(shape, value, "f4")
            np.testing.assert_array_equal(runner({"x": x})["y"], np.maximum(x, 0), strict=True)


def test_rows_that_vary_may_be_none_and_more_again(tmp_path):
    rows = Dynamic("n", 0, 2, 5)
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    segment = save(tmp_path / "m.onnx", nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {})
    inputs, outputs = (
        (replace(side[0], shape=(rows, 4)),) for side in (segment.inputs, segment.outputs)
    )
    with opened(replace(segment, inputs=inputs, outputs=outputs), tmp_path / "out") as runner:
        for count in (0, 5, 0, 2):
            assert runner({"x": np.ones((count, 4), "f4")})["y"].shape == (count, 4)
    assert 'shape="..5,4"' in (tmp_path / "out" / "model.xml").read_text()


def test_an_output_may_be_an_input_or_a_constant(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["w"], ["fixed"]),
        helper.make_node("Identity", ["y"], ["again"]),
    ]
    outputs = [(name, "float32", [2]) for name in ("fixed", "same", "y", "x", "again")]
    weights = {"w": np.array([5, 6], "f4")}
    segment = graph(tmp_path / "m.onnx", nodes, [("x", "float32", [2])], outputs, **weights)
    x = np.array([-1, 2], "f4")
    with opened(segment, tmp_path / "out") as runner:
        runner({"x": x + 1})
        got = runner({"x": x})
    assert list(got) == ["fixed", "same", "y", "x", "again"]
    wanted = {"fixed": [5, 6], "same": [-1, 2], "y": [0, 2], "x": [-1, 2], "again": [0, 2]}
    assert {name: value.tolist() for name, value in got.items()} == wanted
    assert x.tolist() == [-1, 2]
    memories = [*got.values(), x]
    assert not any(np.shares_memory(one, other) for one, other in combinations(memories, 2))


@pytest.fixture
def halves(tmp_path):
    """A runner whose layers could work in place: halves of x are made positive, and joined."""
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=0, num_outputs=2),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Reshape", ["x", "flat"], ["d"]),
        helper.make_node("Relu", ["d"], ["z"]),
        helper.make_node("Concat", ["a", "c"], ["y"], axis=0),
    ]
    segment = save(
        tmp_path / "m.onnx",
        nodes,
        {"x": [4, 8]},
        {"y": [4, 8], "z": [32]},
        {"flat": np.array([32])},
    )
    with opened(segment, tmp_path / "out", threads=1) as runner:
        yield runner


def test_the_engine_reads_inputs_and_writes_outputs_where_they_lie(halves):
    x = np.linspace(-1, 1, 32, dtype="f4").reshape(4, 8)
    y = halves({"x": x})["y"]
    (request,) = halves._idle
    assert np.shares_memory(request.get_input_tensor(0).data, x)
    assert np.shares_memory(request.get_output_tensor(0).data, y)


def test_a_call_changes_neither_its_inputs_nor_what_an_earlier_one_returned(halves):
    x = np.linspace(-1, 1, 32, dtype="f4").reshape(4, 8)
    kept = x.copy()
    first = halves({"x": x})
    wanted = {name: value.copy() for name, value in first.items()}
    np.testing.assert_array_equal(first["y"], np.concatenate([kept[:2], np.maximum(kept[2:], 0)]))
    halves({"x": -x})
    np.testing.assert_array_equal(x, kept)
    for name, value in first.items():
        np.testing.assert_array_equal(value, wanted[name])


def test_inputs_may_be_read_only_or_lie_anywhere(halves):
    x = np.linspace(-1, 1, 32, dtype="f4").reshape(4, 8)
    unaligned = np.zeros(x.nbytes + 1, "u1")[1:].view("f4").reshape(x.shape)
    unaligned[:] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    wanted = halves({"x": x})
    for given in (unaligned, read_only):
        got = halves({"x": given})
        assert all(np.array_equal(got[name], wanted[name]) for name in wanted)


def test_whole_numbers_beyond_the_engines_are_refused_and_the_runner_stays_usable(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    segment = graph(tmp_path / "m.onnx", nodes, [("x", "int64", [2])], [("y", "int64", [2])])
    with opened(segment, tmp_path / "out") as runner:
        with pytest.raises(EngineError, match=r"'x': OpenVINO .* in 32 bits.* got 1 to 2147483648"):
            runner({"x": np.array([1, 2**31])})
        assert runner({"x": np.array([1, 2**31 - 1])})["y"].tolist() == [1, 2**31 - 1]


def test_a_call_that_fails_leaves_a_runner_that_works(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [("x", "float32", [6]), ("shape", "int64", [2])]
    any_size = Dynamic("any", 0, 1, 100)
    segment = graph(tmp_path / "m.onnx", nodes, inputs, [("y", "float32", ["a", "b"])])
    segment = replace(segment, outputs=(TensorSpec("y", "float32", (any_size, any_size)),))
    x = np.arange(6, dtype="f4")
    with opened(segment, tmp_path / "out") as runner:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"OpenVINO failed: .*Reshape node with name 'y'"):
                runner({"x": x, "shape": np.array([4, 3])})
            assert runner({"x": x, "shape": np.array([2, 3])})["y"].shape == (2, 3)


def test_threads_may_share_a_runner(tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    images = [np.full((1, 3, 8, 12), number, "f4") for number in range(4)]
    wrong: list[int] = []
    with opened(segment, tmp_path / "out", threads=1) as runner:
        wanted = [runner({"net.image": image})["net.out.0"] for image in images]

        def call(at: int) -> None:
            for _ in range(50):
                got = runner({"net.image": images[at]})["net.out.0"]
                if not np.array_equal(got, wanted[at]):
                    wrong.append(at)

        threads = [threading.Thread(target=call, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(runner._idle) <= 4
    assert wrong == []


def test_an_operator_without_a_rule_is_named(tmp_path):
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    segment = save(tmp_path / "m.onnx", nodes, {"x": [2, 2]}, {"y": []}, {})
    with pytest.raises(ConversionError, match=r"segment 'm': .*No conversion rule found .*Det"):
        converted(segment, tmp_path / "out")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec("x", "object", (2,)), r"tensors are bool, .*: 'x' object\[2\]\. Let the model"),
        (TensorSpec("x", "float64", (2,)), r"tensors are bool, .*: 'x' float64"),
        (TensorSpec("x", "bfloat16", (2,)), r"tensors are bool, .*: 'x' bfloat16"),
        (TensorSpec("x", "float32", None), r"a known number of dimensions: 'x' float32\["),
        (TensorSpec("z", "float32", (2,)), r"'z' of the OpenVINO model: .* got 'x', float32\[2\]"),
        (TensorSpec("x", "int64", (2,)), r"expected int64\[2\], got 'x', float32\[2\]"),
        (TensorSpec("x", "float32", (3,)), r"expected float32\[3\], got 'x', float32\[2\]"),
    ],
)
def test_tensors_that_it_has_not_are_refused_by_name(spec, message, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    segment = save(tmp_path / "m.onnx", nodes, {"x": [2]}, {"y": [2]}, {})
    with pytest.raises(ConversionError, match=message):
        converted(replace(segment, inputs=(spec,)), tmp_path / "out")


HOSTILE = [
    (b"<net ", b"<!DOCTYPE n [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><net ", "a declaration"),
    (b"<net ", b"<!-- <net> --><net ", "or a comment"),
    (b"</net>", b"<x/></net>", "expected elements of an IR, got x"),
    (b"<net ", b"<layer ", "not well-formed|mismatched tag|expected a net"),
    (b"</net>", b"", "no element found"),
    (b"opset1", b"mine", "layers of a standard opset without a state, got Parameter of mine"),
    (b'"ReLU"', b'"Assign"', "without a state, got Assign of opset1"),
    (b'offset="0"', b'offset="4"', "constant '.*': expected its bytes within 540"),
    (b'offset="0"', b'offset="-4"', "a constant of numbers, got .*offset=-4"),
    (b'size="540"', b'size="18446744073709551615"', "a constant of numbers"),
    (b'shape="5, 3, 3, 3"', b'shape="5, 3, 3, 4"', "expected its bytes within 540"),
    (b'element_type="f32" shape="5', b'element_type="string" shape="5', "a constant of numbers"),
    (
        b"</net>",
        b'<rt_info><runtime_options><K value="1"/></runtime_options></rt_info></net>',
        "no settings of the engine, got runtime_options",
    ),
    (b"</net>", b"<body>" * 70 + b"</body>" * 70 + b"</net>", "at most 64 deep"),
]


@pytest.mark.parametrize(("old", "new", "message"), HOSTILE)
def test_a_text_that_no_converter_writes_is_refused(old, new, message, tmp_path):
    converted(conv(tmp_path / "conv.onnx"), tmp_path / "out")
    text = (tmp_path / "out" / "model.xml").read_bytes()
    check_ir(text, "model.xml", 540)
    assert old in text
    with pytest.raises(EngineError, match=f"'model.xml.*: .*({message})"):
        check_ir(text.replace(old, new, 1), "model.xml", 540)


def test_a_file_for_other_tensors_is_refused(tmp_path):
    artifact = converted(conv(tmp_path / "conv.onnx"), tmp_path / "out")
    other = replace(artifact, outputs=(replace(artifact.outputs[0], shape=(1, 5, 8, 13)),))
    expected = re.escape("expected float32[1, 5, 8, 13], got 'net.out.0', float32[1,5,8,12]")
    with pytest.raises(EngineError, match=expected):
        load(other, tmp_path / "out")


def test_it_tells_nobody_that_it_is_used_and_writes_nothing_into_the_home(tmp_path):
    code = (
        "import sys, backends.openvino.run, backends.openvino.convert\n"
        "print(*(name for name in sys.modules if 'telemetry' in name))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    ours = ["telemetry_params", "telemetry_stub", "telemetry_utils"]
    assert set(done.stdout.split()) == {f"openvino.tools.ovc.{name}" for name in ours}
    assert list(tmp_path.iterdir()) == []


MUTANTS = """
import sys
from pathlib import Path
import numpy as np
from backends.conversion_files import read_artifact
from backends.contract import EngineError
from backends.openvino.run import load
from tests.backends.openvino_mutants import mutated
out = Path(sys.argv[1])
artifact, names = read_artifact(out), ("model.xml", "model.bin")
text, weights = ((out / name).read_bytes() for name in names)
refused = 0
for number in range(150):
    for name, data in zip(names, mutated(number, text, weights), strict=True):
        (out / name).write_bytes(data)
    print("mutant", number, flush=True)
    try:
        with load(artifact, out) as runner:
            runner({spec.name: np.ones(spec.typical, spec.dtype) for spec in artifact.inputs})
    except EngineError:
        refused += 1
assert 75 < refused < 150, refused
"""


def test_mutants_are_refused_or_run_and_crash_nothing(tmp_path):
    out = tmp_path / "out"
    artifact = converted(decode(tmp_path / "decode.onnx"), out, threads=1)
    (out / "artifact.json").write_text(json.dumps(to_json(artifact)))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){MUTANTS}"]
    with (tmp_path / "log").open("w+") as log:
        ending = run_limited([*command, str(out)], Limits(120, 4 << 30), log)
    assert ending == "", (tmp_path / "log").read_text()[-2000:]


def test_an_operator_that_the_engine_reads_in_another_way_is_named(tmp_path):
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 8] x) => (float[1, 5] y)
        <int64[1] last = {-1}, int64 axis = {1}>
        {
          column = Unsqueeze(x, last)
          spectrum = DFT <onesided = 1> (column, , axis)
          y = ReduceL2 <keepdims = 0> (spectrum, last)
        }""")
    onnx.save(onnx.shape_inference.infer_shapes(model, data_prop=True), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    specs = TensorSpec("x", "float32", (1, 8)), TensorSpec("y", "float32", (1, 5))
    segment = Segment("m", tmp_path / "m.onnx", specs[:1], specs[1:])
    message = r"reads DFT, which gives 'spectrum', in another way: expected its shape \[1,5,2\]"
    with pytest.raises(ConversionError, match=message + r".*Choose another backend for this segm"):
        convert(segment, Options(), tmp_path / "out")


def test_a_result_in_a_dtype_that_it_lacks_is_refused_with_one_that_it_has(tmp_path):
    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[1, 8] x) => (%s[1, 8] y)
        { a = Cast <to = 11> (x) %s = Exp(a) %s }"""
    x, y = TensorSpec("x", "float32", (1, 8)), TensorSpec("y", "float64", (1, 8))
    onnx.save(onnx.parser.parse_model(text % ("double", "y", "")), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ConversionError, match=r"'y' float64\[1, 8\]\. Let the model .* \.float\(\)"
    ):
        convert(Segment("m", tmp_path / "m.onnx", (x,), (y,)), Options(), tmp_path / "out")
    cast = "y = Cast <to = 1> (b)"
    onnx.save(onnx.parser.parse_model(text % ("float", "b", cast)), tmp_path / "m.onnx")
    segment = Segment("m", tmp_path / "m.onnx", (x,), (replace(y, dtype="float32"),))
    artifact = convert(segment, Options(), tmp_path / "out")
    value = np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8)
    with load(artifact, tmp_path / "out") as runner:
        np.testing.assert_allclose(runner({"x": value})["y"], np.exp(value), rtol=1e-5)
