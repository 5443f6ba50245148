"""What the double of TensorRT parses and builds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.simulator.engines import (
    ADD,
    ONES,
    SIZES,
    Call,
    build,
    current,
    engine,
    load,
    model,
    parse,
    parser_errors,
    weighted,
)

pytestmark = pytest.mark.usefixtures("on_gpu")


def test_a_network_is_as_the_graph(log):
    trt, _ = load()
    text = """(float[N, 3] x, int64[2] s) => (float[A, B] y, float[N, 3] z) {
        y = Reshape(x, s)
        z = Mul(x, w)
    }"""
    parser, network = parse(log, model(text, w=np.ones(3, np.float32)))
    assert parser.num_errors == 0
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    assert [one.name for one in (*inputs, *outputs)] == ["x", "s", "y", "z"]
    assert [one.is_shape_tensor for one in inputs] == [False, True]
    assert [one.dtype for one in inputs] == [trt.DataType.FLOAT, trt.DataType.INT64]
    assert inputs[0].shape == (-1, 3)
    assert outputs[1].shape == (-1, 3)


def test_every_node_without_a_layer_is_told(log):
    text = """(float[N, 3] x, int16[N] i) => (float[N, 3] y) {
        a = Unique(x)
        b = com.example.Own(x)
        c = Cast <to = 5> (x)
        y = Add(x, missing)
    }"""
    made = model(text)
    for number, node in enumerate(made.graph.node):
        node.name = f"node {number}"
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    parser, _ = parse(log, made)
    assert parser_errors(parser) == [
        ("UNSUPPORTED_NODE", -1, "", ""),
        ("UNSUPPORTED_NODE", 0, "node 0", "Unique"),
        ("INVALID_NODE", 1, "node 1", "Own"),
        ("INVALID_NODE", 2, "node 2", "Cast"),
    ]
    assert (parser.get_error(0).func(), parser.get_error(0).file()) == ("importInput", "i")
    assert (parser.get_error(1).func(), parser.get_error(1).desc()) == ("checkUnique", "false")
    assert "node 2" in repr(parser.get_error(3))
    assert log.take().count("In node") == 4
    parser.clear_errors()
    assert parser.num_errors == 0


@pytest.mark.parametrize(
    ("text", "code", "function"),
    [
        ("(string[N] x) => (string[N] y) { y = Identity(x) }", "UNSUPPORTED_NODE", "importInput"),
        ("(uint8[N] x) => (uint8[N] y) { y = Add(x, x) }", "INVALID_NODE", "parseNode"),
        ("(float[N] x) => (float[N] y) { y = Add(x, missing) }", "INVALID_GRAPH", "parseNode"),
        ("(float[2] x) => (float[2] y) { y = Relu <axis = 7> (x) }", "INVALID_GRAPH", "parseGraph"),
        (
            "(float[N] x) => (float[N] y) { a = Cast <to = 2> (x) \n y = Cast <to = 1> (a) }",
            "UNSUPPORTED_NODE",
            "parseNode",
        ),
        (
            "(float[N] x, int64[1] a) => (float[N] y) { y = ReduceSum(x, a) }",
            "UNSUPPORTED_NODE",
            "getReduceAxisMask",
        ),
        (
            "(float[N, 1, 4] x) => (float[N, 1, 2] y) { y, i = MaxPool <kernel_shape = [3]> (x) }",
            "UNSUPPORTED_NODE",
            "emptyOutputChecker",
        ),
        (
            "(float[N] x) => (float[N] y) { a = Add(x, b) \n b = Neg(a) \n y = Neg(b) }",
            "INVALID_GRAPH",
            "importModel",
        ),
    ],
)
def test_a_graph_that_cannot_be_taken(log, text, code, function):
    parser, _ = parse(log, model(text))
    assert [error[0] for error in parser_errors(parser)] == [code]
    assert parser.get_error(0).func() == function


def test_broadcasting_of_old_models_is_refused_as_a_whole(log):
    parser, _ = parse(log, model("(float[2] x) => (float[2] y) { y = Add(x, x) }", opset=6))
    assert parser_errors(parser) == [("UNSUPPORTED_NODE", -1, "", "")]
    assert "Pre-opset 7 broadcasting" in parser.get_error(0).desc()


def test_of_a_body_the_last_node_without_a_layer_is_told(log):
    text = """(float[N] x, bool c) => (float[N] y) {
        y = If (c) <
            then_branch = a () => (float[N] t) { d = Cast <to = 5> (x) \n t = Cast <to = 4> (d) },
            else_branch = b () => (float[N] u) { u = Unique(x) }
        >
    }"""
    made = model(text)
    made.graph.node[0].attribute[0].g.node[1].name = "inner"
    parser, _ = parse(log, made)
    assert parser_errors(parser) == [("INVALID_NODE", 0, "inner", "Cast")]


def test_doubles_are_narrowed(log):
    trt, _ = load()
    parser, network = parse(log, model("(double[N] x) => (double[N] y) { y = Relu(x) }"))
    assert parser.num_errors == 0
    assert network.get_input(0).dtype == network.get_output(0).dtype == trt.DataType.FLOAT


def test_an_input_that_is_an_output_has_another_name_as_an_input(log):
    _, network = parse(log, model("(float[N] x) => (float[N] x, float[N] y) { y = Neg(x) }"))
    assert network.get_input(0).name == "__x"
    assert network.get_output(0).name == "x"


@pytest.mark.parametrize("name", ["broken", "empty", "lonely", "missing"])
def test_files_that_cannot_be_read(log, tmp_path, name):
    trt, _ = load()
    path, codes = tmp_path / name, {"lonely": "INVALID_GRAPH", "missing": "INVALID_VALUE"}
    (tmp_path / "broken").write_bytes(b"\xff\x01 no model")
    (tmp_path / "empty").write_bytes(b"")
    onnx.save(
        weighted(),
        tmp_path / "lonely",
        save_as_external_data=True,
        location="w.data",
        size_threshold=0,
    )
    (tmp_path / "w.data").unlink()
    network = trt.Builder(log).create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = trt.OnnxParser(network, log)
    assert not parser.parse_from_file(str(path))
    expected = codes.get(name, "MODEL_DESERIALIZE_FAILED")
    assert [code for code, *_ in parser_errors(parser)] == [expected]
    assert network.num_outputs == 0


def test_weights_beside_the_file_come_into_the_plan(log, tmp_path):
    trt, _ = load()
    path = tmp_path / "net.onnx"
    onnx.save(weighted(3), path, save_as_external_data=True, location="w.data", size_threshold=0)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse_from_file(str(path))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    (tmp_path / "w.data").unlink()
    assert (Call(engine(log, plan))(x=ONES)["y"] == 3).all()


def test_functions_of_a_model_are_inlined(log):
    text = """<ir_version: 9, opset_import: ["" : 18, "own" : 1]>
    g (float[2, 3] x) => (float[2, 3] y) { y = own.twice(x) }
    <domain: "own", opset_import: ["" : 18]>
    twice (a) => (b) { b = Add(a, a) }"""
    assert (Call(engine(log, build(log, onnx.parser.parse_model(text))))(x=ONES)["y"] == 2).all()


def test_networks_have_to_be_strongly_typed(log):
    trt, _ = load()
    assert trt.Builder(log).create_network(0) is None
    assert "strongly typed" in log.take()


def test_an_empty_network_is_not_built(log):
    trt, _ = load()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert "at least one output" in log.take()


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (None, "no optimization profile has been defined"),
        ({"z": [(1, 3)] * 3}, "x: dynamic input is missing dimensions in profile 0"),
        ({"x": [(1, 4)] * 3}, "network has [-1, 3] and does not match [1, 4]"),
        ({"x": [(1,)] * 3}, "does not match [1]"),
        ({**SIZES, "z": [(1,)] * 3}, "z: not a network input"),
    ],
)
def test_profiles_have_to_fit_the_graph(log, ranges, said):
    assert build(log, model(ADD), ranges) is None
    assert said in log.take()


def test_profiles_have_to_fit_themselves(log):
    trt, _ = load()
    builder = trt.Builder(log)
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    assert profile
    profile.set_shape("x", (1, 3), (5, 3), (4, 3))
    assert [tuple(shape) for shape in profile.get_shape("x")] == [(1, 3), (5, 3), (4, 3)]
    assert profile.get_shape("y") == []
    assert not profile
    assert config.add_optimization_profile(profile) == -1
    assert "min <= opt <= max" in log.take()
    assert config.num_optimization_profiles == 0
    for wrong in ((1,), (-1, 3)):
        with pytest.raises(ValueError, match="not consistent"):
            profile.set_shape("x", wrong, (2, 3), (4, 3))
    profile.set_shape_input("s", [1], [2], [3])
    assert profile.get_shape_input("s") == [[1], [2], [3]]


def test_an_input_whose_values_decide_shapes_is_not_built(log):
    text = "(float[4] x, int64[2] s) => (float[A, B] y) { y = Reshape(x, s) }"
    assert build(log, model(text)) is None
    assert "shape tensors" in log.take()


def test_a_configuration_keeps_what_it_is_told(log):
    trt, _ = load()
    config = trt.Builder(log).create_builder_config()
    assert config.get_flag(trt.BuilderFlag.TF32)  # as in TensorRT
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_flag(trt.BuilderFlag.REFIT)
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.get_flag(trt.BuilderFlag.REFIT)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 20)
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 1 << 20
    config.builder_optimization_level = 9
    assert config.builder_optimization_level == 5
    for method, wrong in ((config.set_flag, 6), (config.set_timing_cache, None)):
        with pytest.raises(TypeError):
            method(*([wrong, True] if wrong is None else [wrong]))


def timed(log, made: onnx.ModelProto, data: bytes, flags=()) -> tuple[bytes, int]:
    """The timing cache after a build that began with this one, and its number of entries."""
    caches = []

    def configure(config) -> None:
        caches.append(config.create_timing_cache(data))
        assert config.set_timing_cache(caches[0], ignore_mismatch=False)
        assert config.get_timing_cache() is caches[0]

    assert build(log, made, flags=flags, configure=configure)
    return bytes(caches[0].serialize()), len(caches[0]._timings.entries)


def test_a_timing_cache_has_an_entry_for_each_build(log):
    one, number = timed(log, weighted(1), b"")
    assert number == 1
    assert timed(log, weighted(1), one) == (one, 1)
    both, number = timed(log, weighted(2), one)
    assert number == 2
    assert both != one
    assert timed(log, weighted(3), one, ["DISABLE_TIMING_CACHE"]) == (one, 1)
    config = load()[0].Builder(log).create_builder_config()
    cache = config.create_timing_cache(one)
    assert cache.combine(config.create_timing_cache(timed(log, weighted(3), b"")[0]), False)
    assert len(cache._timings.entries) == 2
    assert cache.reset()
    assert cache._timings.entries == {}


def test_a_timing_cache_that_does_not_fit_is_refused(log, monkeypatch):
    trt, _ = load()
    data, _ = timed(log, weighted(), b"")
    config = trt.Builder(log).create_builder_config()
    for damaged in (data[:-1], b"?", data + b"?"):
        assert config.create_timing_cache(damaged) is None
        assert "Serialization assertion" in log.take()
    with current(1):
        cache = config.create_timing_cache(data)
        assert not config.set_timing_cache(cache, ignore_mismatch=False)
        assert "another device, Simulated A 9.0" in log.take()
        assert config.set_timing_cache(cache, ignore_mismatch=True)
    monkeypatch.setattr(trt._timing, "VERSION", "11.5.0.1")
    assert not config.set_timing_cache(config.create_timing_cache(data), ignore_mismatch=True)
    assert "of TensorRT 11.4.0.106" in log.take()
    assert config.get_timing_cache() is cache


def test_a_logger_that_fails_is_not_heard_of(log, capfd):
    trt, _ = load()

    class Failing(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            raise OSError("disk full")

    assert engine(Failing(), b"no plan") is None
    assert "disk full" in capfd.readouterr().err


def test_unsigned_bytes_go_in_and_out_by_a_cast(log):
    text = "(uint8[2, 3] x) => (uint8[2, 3] y) { f = Cast <to = 1> (x) \n y = Cast <to = 2> (f) }"
    call = Call(engine(log, build(log, model(text))))
    assert (call(x=ONES.astype(np.uint8) * 200)["y"] == 200).all()


def test_types_that_numpy_lacks_cannot_go_in_or_out(log):
    made = model("(float[2] x) => (float[2] y) { y = Identity(x) }")
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    assert build(log, made) is None
    assert "BF16" in log.take()
