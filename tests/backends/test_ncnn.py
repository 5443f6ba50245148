"""ncnn's own traps."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from backends.contract import ConversionError, Dynamic, TensorSpec
from backends.ncnn import Options
from tests.helpers.graphs import conv, kernel, save

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

from backends.ncnn.conversion.diagnosis import batch_axes
from backends.ncnn.convert import convert
from backends.ncnn.run import NcnnRunner, load


def test_without_fp16_neither_the_file_nor_the_engine_is_half(tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    sizes = {}
    for fp16 in (False, True):
        out = tmp_path / str(fp16)
        out.mkdir()
        artifact = convert(segment, Options(fp16=fp16), out)
        sizes[fp16] = (out / artifact.files[1]).stat().st_size
        with load(artifact, out) as runner:
            opt = runner._net.opt
            flags = (opt.use_fp16_packed, opt.use_fp16_storage, opt.use_fp16_arithmetic)
            assert flags == (fp16,) * 3
            assert not opt.use_bf16_storage and not opt.use_int8_inference
        assert artifact.precision == ("fp16" if fp16 else "fp32")
    assert sizes[True] < 0.6 * sizes[False]


def test_reductions_over_computed_axes_are_refused_by_name(tmp_path):
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["whole"], to=7),
        helper.make_node("Unsqueeze", ["whole", "zero"], ["computed"]),
        helper.make_node("ReduceMean", ["image", "computed"], ["out"], name="mean", keepdims=1),
    ]
    shapes = {"image": [1, 3, 4, 6]}, {"out": [1, 3, 4, 1]}
    segment = save(tmp_path / "m.onnx", nodes, *shapes, {"zero": np.array([0])})
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ConversionError,
        match=r"ReduceMean 'mean' \(tensor 'out'\): it computes its axes 'computed'",
    ):
        convert(segment, Options(), tmp_path / "out")


def test_an_operator_that_ncnn_lacks_is_named(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], kernel_shape=[1, 1]),
        helper.make_node("Hardmax", ["y"], ["out"]),
    ]
    weights = {"w": kernel(2, 3, 1, 1)}
    segment = save(
        tmp_path / "m.onnx", nodes, {"image": [1, 3, 4, 6]}, {"out": [1, 2, 4, 6]}, weights
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionError, match=r"ncnn cannot compute Hardmax \(tensor 'out'\)"):
        convert(segment, Options(), tmp_path / "out")


def test_tensors_that_are_not_float32_are_refused(tmp_path):
    from dataclasses import replace

    segment = conv(tmp_path / "conv.onnx")
    ids = replace(segment.inputs[0], dtype="int64")
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ConversionError, match=r"'net\.image': expected float32 for ncnn, got int64"
    ):
        convert(replace(segment, inputs=(ids,)), Options(), tmp_path / "out")


def test_the_batch_axes_are_read_from_the_generated_script():
    script = (
        'ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=233).clone())\n'
        "out.append(torch.from_numpy(out0.numpy(batch_index=0)))\n"
    )
    assert batch_axes(script) == {"in0": 233, "out0": 0}


def rows_of(path, *, of=4):
    """A dense layer over any number of rows."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    shapes = {"x": ["rows", of]}, {"y": ["rows", 3]}
    segment = save(path, nodes, *shapes, {"w": kernel(of, 3)})
    span = Dynamic("rows", 0, 5, 100)
    return replace(
        segment,
        inputs=(TensorSpec("x", "float32", (span, of)),),
        outputs=(TensorSpec("y", "float32", (span, 3)),),
    )


def test_rows_that_vary_in_number_go_through_a_net_of_one_row(tmp_path):
    segment = rows_of(tmp_path / "rows.onnx")
    (tmp_path / "out").mkdir()
    artifact = convert(segment, Options(), tmp_path / "out")
    with load(artifact, tmp_path / "out") as runner:
        for count in (0, 1, 3, 17):
            x = np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)
            np.testing.assert_allclose(
                runner({"x": x})["y"], np.maximum(x @ kernel(4, 3), 0), atol=1e-4
            )


def test_anything_else_that_varies_is_refused_by_name(tmp_path):
    segment = rows_of(tmp_path / "rows.onnx")
    wide = Dynamic("width", 1, 4, 8)
    changed = replace(segment, inputs=(TensorSpec("x", "float32", (2, wide)),))
    with pytest.raises(ConversionError, match=r"fixed shape, and 'x' is float32\[2, 1\.\.8\]"):
        convert(changed, Options(), tmp_path)


def mats_of(monkeypatch) -> list:
    """Collects for each input whether the engine is lent the caller's memory."""
    lent = []
    plain = NcnnRunner._mat

    def watched(runner, blob, array):
        mat = plain(runner, blob, array)
        pointer = mat.numpy().ctypes.data
        lent.append(pointer == array.ctypes.data)
        return mat

    monkeypatch.setattr(NcnnRunner, "_mat", watched)
    return lent


@pytest.mark.parametrize(
    ("operators", "is_lent"),
    [(["Conv"], True), (["Relu"], False), (["Conv", "Relu on the input"], False)],
)
def test_an_input_is_lent_to_a_layer_that_only_reads_it(tmp_path, monkeypatch, operators, is_lent):
    known = {
        "Conv": helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1]),
        "Relu": helper.make_node("Relu", ["x"], ["y"]),
        "Relu on the input": helper.make_node("Relu", ["x"], ["z"]),
    }
    nodes = [known[name] for name in operators]
    shape = [1, 3, 4, 4]
    outputs = {node.output[0]: shape for node in nodes}
    weights = {"w": kernel(3, 3, 1, 1)} if "Conv" in operators else {}
    segment = save(tmp_path / "m.onnx", nodes, {"x": shape}, outputs, weights)
    (tmp_path / "out").mkdir()
    artifact = convert(segment, Options(), tmp_path / "out")
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    kept, lent = image.copy(), mats_of(monkeypatch)
    with load(artifact, tmp_path / "out") as runner:
        first = runner({"x": image})
        memory = np.zeros(image.size + 1, np.float32)
        memory[1:] = image.ravel()
        second = runner({"x": memory[1:].reshape(shape)})  # not where the engine may load at once
    assert lent == [is_lent, False]
    np.testing.assert_array_equal(image, kept)
    for name in outputs:
        np.testing.assert_array_equal(first[name], second[name])


def test_inputs_are_lent_to_a_layer_that_joins_them(tmp_path, monkeypatch):
    node = helper.make_node("Concat", ["x", "z"], ["y"], axis=1)
    shapes = {name: [1, 4, 4, 4] for name in ("x", "z")}
    segment = save(tmp_path / "m.onnx", [node], shapes, {"y": [1, 8, 4, 4]}, {})
    (tmp_path / "out").mkdir()
    inputs = {"x": kernel(*shapes["x"]), "z": -kernel(*shapes["z"])}
    kept, lent = {name: value.copy() for name, value in inputs.items()}, mats_of(monkeypatch)
    with load(convert(segment, Options(), tmp_path / "out"), tmp_path / "out") as runner:
        joined = runner(inputs)["y"]
    assert lent == [True, True]
    np.testing.assert_array_equal(joined, np.concatenate([kept["x"], kept["z"]], axis=1))
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, kept[name])


def test_rows_that_no_instruction_can_load_at_once_are_copied(tmp_path, monkeypatch):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])
    shape = [1, 3, 3, 3]  # a channel is 36 bytes
    segment = save(
        tmp_path / "m.onnx", [node], {"x": shape}, {"y": shape}, {"w": kernel(3, 3, 1, 1)}
    )
    (tmp_path / "out").mkdir()
    lent = mats_of(monkeypatch)
    with load(convert(segment, Options(), tmp_path / "out"), tmp_path / "out") as runner:
        runner({"x": kernel(*shape)})
    assert lent == [False]


def test_its_threads_sleep_soon_and_the_environment_is_as_it_was():
    code = (
        "import os; before = dict(os.environ); import backends.ncnn.run\n"
        "assert dict(os.environ) == before\n"
        "print(open('/proc/self/maps').read().count('libgomp') > 0)"
    )
    asked = {"OMP_DISPLAY_ENV": "VERBOSE"}
    for told, looks in (({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77")):
        given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ended = subprocess.run(
            [sys.executable, "-c", code], env=given | asked | told, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert f"GOMP_SPINCOUNT = '{looks}'" in ended.stderr
