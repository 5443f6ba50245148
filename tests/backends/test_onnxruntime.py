"""What ONNX Runtime's sessions on the CPU are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from backends.contract import DeployError, Segment
from backends.onnx.specs import read_segment
from backends.onnxruntime import Options
from backends.onnxruntime.convert import convert
from backends.onnxruntime.run import load
from backends.onnxruntime.session import on_cpu
from tests.helpers.graphs import two_and_two


@pytest.mark.parametrize(
    ("spin", "waits", "stops"),
    [("auto", "1", "0"), ("on", "1", "0"), ("run", "1", "1"), ("off", "0", "0")],
)
def test_a_session_is_told_whether_its_threads_wait_busily(spin, waits, stops, tmp_path):
    session = on_cpu(two_and_two(tmp_path / "model.onnx").onnx, Options(spin=spin, threads=2))
    asked = session.get_session_options()
    assert asked.get_session_config_entry("session.intra_op.allow_spinning") == waits
    assert asked.get_session_config_entry("session.force_spinning_stop") == stops
    assert asked.intra_op_num_threads == 2


def matrix_products(path: Path) -> Segment:
    """Two products of a batch of matrices with a bias, which the engine fuses in several passes."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 4, 8] x) => (float[1, 4, 8] y)
        {
          a = MatMul(x, w)
          b = Add(a, bias)
          c = Relu(b)
          d = MatMul(c, w)
          y = Add(d, bias)
        }""")
    for name, shape in (("w", (8, 8)), ("bias", (8,))):
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return read_segment(path, "m", {})


def test_weights_that_the_engine_adds_do_not_have_the_names_that_it_gives_them_again(tmp_path):
    segment = matrix_products(tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    artifact = convert(segment, Options(), tmp_path / "out")
    stored = onnx.load(tmp_path / "out" / "model.onnx").graph
    names = {weight.name for weight in stored.initializer}
    assert any(node.op_type == "Gemm" for node in stored.node), "nothing was fused"
    assert names - {"w", "bias"} and all(n.startswith("added/") for n in names - {"w", "bias"})
    x = np.ones((1, 4, 8), np.float32)
    with load(artifact, tmp_path / "out") as runner:
        (expected,) = ReferenceEvaluator(str(segment.onnx)).run(None, {"x": x})
        np.testing.assert_allclose(runner({"x": x})["y"], expected, rtol=1e-5, atol=1e-5)


def test_a_file_that_does_not_load_once_optimized_is_stored_as_it_is(tmp_path, monkeypatch):
    def refuse(source: Path, optimized: Path) -> None:
        optimized.write_bytes(optimized.read_bytes()[:-9])

    monkeypatch.setattr("backends.onnxruntime.convert.rename_added_weights", refuse)
    segment = matrix_products(tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    with pytest.warns(UserWarning, match="'m' is stored as it is .* does not load what it optimi"):
        artifact = convert(segment, Options(), tmp_path / "out")
    assert artifact.options["optimize"] == "off"
    stored = onnx.load(tmp_path / "out" / "model.onnx")
    assert stored.graph == onnx.load(segment.onnx).graph


@pytest.mark.parametrize("optimize", ["basic", "off"])
def test_an_operator_without_a_kernel_for_a_dtype_is_refused_with_what_to_do(tmp_path, optimize):
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 8] x) => (float[1, 8] y)
        { a = Cast <to = 16> (x) b = Gemm(a, w) y = Cast <to = 1> (b) }""")
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.BFLOAT16, [8, 8], [1.0] * 64)
    model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(DeployError, match=r"has no Gemm for the dtype .* no torch.autocast in its"):
        artifact = convert(
            read_segment(tmp_path / "m.onnx", "m", {}), Options(optimize=optimize), tmp_path / "out"
        )
        load(artifact, tmp_path / "out")
