"""Files come in their plainest form, and their large weights stay on disk."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from backends.contract import DeployError, Dynamic, TensorSpec
from deploy.graph.exported import Exported
from deploy.graph.loading import load_graph
from deploy.graph.writing import INLINE_BYTES, WeightsFile, write_model
from deploy.partition.cut_points import Cut
from deploy.partition.segments import partition
from tests.helpers.chains import run

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
SPEC = TensorSpec("x", "float32", (2, 3))


def graph(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y) {text}'
    )


def cut(folder, model, *inputs):
    """The two halves of a file at ``m``, run one after the other, and the file as it is."""
    path = folder / "whole.onnx"
    onnx.save(model, path)
    exported = Exported(path, inputs or (SPEC,), by_name=True)
    first, second = partition(exported, [], folder / "cut", across=[["m"]]).segments
    middle = run(first.onnx, X)
    return run(second.onnx, {**X, **middle}, second.inputs)["y"], run(path, X)["y"]


def sparse(indices, values, name):
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), name),
        numpy_helper.from_array(np.array(indices, np.int64), f"{name}_indices"),
        [2, 3],
    )


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["flat", "coordinates"])
def test_sparse_weights_are_written_out(tmp_path, indices):
    model = graph("{ m = Add(x, w) y = Mul(m, w) }")
    model.graph.sparse_initializer.append(sparse(indices, [2, 3], "w"))
    halves, whole = cut(tmp_path, model)
    assert (halves == whole).all() and whole[1, 2] == (5 + 3) * 3


def test_sparse_constants_are_written_out(tmp_path):
    model = graph("{ m = Relu(x) y = Add(m, w) }")
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse([4], [7], ""))
    model.graph.node.insert(0, node)
    halves, whole = cut(tmp_path, model)
    assert (halves == whole).all() and whole[1, 1] == 4 + 7


def test_a_sparse_tensor_that_would_fill_the_memory_is_refused(tmp_path):
    model = graph("{ y = Relu(x) }")
    bomb = sparse([0], [1], "w")
    bomb.dims[:] = [2**40, 2**40]
    model.graph.sparse_initializer.append(bomb)
    onnx.save(model, tmp_path / "bomb.onnx")
    with pytest.raises(DeployError, match=r"sparse tensor 'w': expected at most .* got shape \[10"):
        load_graph(Exported(tmp_path / "bomb.onnx", (SPEC,), by_name=True))


def test_sparse_values_outside_of_their_shape_are_refused(tmp_path):
    model = graph("{ y = Relu(x) }")
    model.graph.sparse_initializer.append(sparse([77], [1], "w"))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(DeployError, match="sparse tensor 'w': index 77 is out of bounds"):
        load_graph(Exported(tmp_path / "odd.onnx", (SPEC,), by_name=True))


def test_weights_that_are_inputs_too_are_weights(tmp_path):
    model = graph("{ m = Add(x, w) y = Mul(m, w) }")
    weight = numpy_helper.from_array(np.full((2, 3), 3, np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3]))
    model.ir_version = 3  # when that was the rule
    halves, whole = cut(tmp_path, model)
    assert (halves == whole).all()


def test_tensors_of_nodes_and_bodies_may_lie_beside_the_file(tmp_path):
    model = graph("""{
        k = Constant <value = float[2,3] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}> ()
        m = Add(x, k)
        y = Add(m, k)
    }""")
    onnx.save(
        model, tmp_path / "whole.onnx", save_as_external_data=True, location="all",
        size_threshold=0, convert_attribute=True,
    )  # fmt: skip
    exported = Exported(tmp_path / "whole.onnx", (SPEC,), by_name=True)
    for segment in partition(exported, [], tmp_path / "cut", across=[["m"]]).segments:
        assert run(segment.onnx, {**X, "m": X["x"]}, segment.inputs)


def test_large_weights_are_not_read(tmp_path):
    model = graph("{ y = MatMul(x, w) }")
    weight = np.ones((3, 1000), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1000
    onnx.save(model, tmp_path / "m.onnx")
    loaded = load_graph(Exported(tmp_path / "m.onnx", (SPEC,)))
    stored = loaded.graph.initializers["w"].const_value
    assert isinstance(stored, ir.ExternalTensor)
    assert (stored.numpy() == weight).all()


def test_open_sizes_get_the_sizes_and_names_of_the_specs(tmp_path):
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[N, M, ?] x) => (float[N, M, K] y) { m = Relu(x) y = Neg(m) }""")
    onnx.save(model, tmp_path / "m.onnx")
    spec = TensorSpec("x", "float32", (Dynamic("batch", 1, 2, 4), 5, 7))
    exported = Exported(tmp_path / "m.onnx", (spec,), by_name=True)
    cuts = [Cut("a", ["x"], ["m"]), Cut("b", ["m"], ["y"])]
    for segment in partition(exported, cuts, tmp_path / "cut").segments:
        for one in (*segment.inputs, *segment.outputs):
            assert str(one) == "float32[1..4, 5, 7]"


def test_a_weights_file_whose_source_ends_too_early_is_not_left_behind(tmp_path):
    (tmp_path / "short").write_bytes(bytes(10))
    tensor = ir.ExternalTensor(
        "short", 4, 40, ir.DataType.FLOAT, shape=ir.Shape([10]), name="w", base_dir=tmp_path
    )
    file = WeightsFile(tmp_path / "new")
    file.add(tensor)
    with pytest.raises(OSError, match="short' ends 34 bytes too early"):
        file.write()
    assert not (tmp_path / "new").exists()


def test_a_small_weight_whose_file_ends_too_early_is_an_error_before_anything_is_written(tmp_path):
    (tmp_path / "short").write_bytes(bytes(10))
    tensor = ir.ExternalTensor(
        "short", 4, 40, ir.DataType.FLOAT, shape=ir.Shape([10]), name="w", base_dir=tmp_path
    )
    weight = ir.Value(name="w", const_value=tensor)
    graph = ir.Graph([], [], nodes=[], initializers=[weight], opset_imports={"": 18})
    with pytest.raises(OSError, match="short' ends 34 bytes too early"):
        write_model(ir.Model(graph, ir_version=10), tmp_path / "new.onnx", INLINE_BYTES)
    assert not (tmp_path / "new.onnx").exists()


def test_weights_in_memory_and_on_disk_are_written_to_one_file(tmp_path):
    (tmp_path / "old").write_bytes(bytes(4) + np.arange(3, dtype=np.float32).tobytes())
    on_disk = ir.ExternalTensor(
        "old", 4, 12, ir.DataType.FLOAT, shape=ir.Shape([3]), name="a", base_dir=tmp_path
    )
    file = WeightsFile(tmp_path / "new")
    placed = [file.add(on_disk), file.add(ir.tensor(np.full(5, 7, np.float32), name="b"))]
    file.write()
    assert [tensor.offset for tensor in placed] == [0, 64]
    assert placed[0].numpy().tolist() == [0, 1, 2]
    assert placed[1].numpy().tolist() == [7] * 5
