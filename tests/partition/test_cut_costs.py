"""What a cut costs: counted, and not timed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from backends.contract import TensorSpec
from deploy.graph.exported import Exported
from deploy.partition.segments import partition
from tests.helpers.costs import cost_of, peak

PARTS = 4


def cut(model: Exported, layers: int) -> None:
    borders = [[f"t{layers * part // PARTS}"] for part in range(1, PARTS)]
    partition(model, [], model.onnx.parent / "parts", across=borders)


def save_chain(path: Path, layers: int, size: int, *, beside: bool = False) -> Exported:
    """Two nodes a layer, with weights of zeros that have so many bytes each."""
    shape = [size // 4]
    names = ["t0", *(name for n in range(layers) for name in (f"a{n}", f"t{n + 1}"))]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]
    nodes, weights = [], []
    for n in range(layers):
        nodes.append(helper.make_node("Add", [f"t{n}", f"w{n}"], [f"a{n}"], name=f"add{n}"))
        nodes.append(helper.make_node("Relu", [f"a{n}"], [f"t{n + 1}"], name=f"relu{n}"))
        weights.append(TensorProto(name=f"w{n}", data_type=TensorProto.FLOAT, dims=shape))
        if beside:
            weights[n].data_location = TensorProto.EXTERNAL
            weights[n].external_data.add(key="location", value=f"{path.name}.data")
            weights[n].external_data.add(key="offset", value=str(n * size))
        else:
            weights[n].raw_data = bytes(size)
    first, *inner, last = tensors
    graph = helper.make_graph(nodes, "chain", [first], [last], weights, value_info=inner)
    onnx.save(helper.make_model(graph, ir_version=10), path)
    with path.with_name(f"{path.name}.data").open("wb") as file:
        file.truncate(layers * size)  # a hole takes no disk
    return Exported(path, (TensorSpec("t0", "float32", tuple(shape)),), by_name=True)


def bytes_read() -> int:
    """By this process so far, through system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_a_node_costs_less_than_5000_instructions_of_python(tmp_path):
    counts = []
    for layers in (40, 80):
        model = save_chain(tmp_path / "chain.onnx", layers, 4)
        counts.append(cost_of(lambda model=model, layers=layers: cut(model, layers)).instructions)
    assert (counts[1] - counts[0]) / 80 < 5_000


def test_no_node_is_copied(tmp_path, monkeypatch):
    made = Counter()
    begin = ir.Node.__init__

    def counting(node, domain, op_type, *args, **options):
        made[op_type] += 1
        begin(node, domain, op_type, *args, **options)

    monkeypatch.setattr(ir.Node, "__init__", counting)
    cut(save_chain(tmp_path / "chain.onnx", 12, 4), 12)
    assert made == {"Add": 12, "Relu": 12}


def test_small_weights_are_read_without_a_map_of_the_whole_file(tmp_path, monkeypatch):
    model = save_chain(tmp_path / "chain.onnx", 12, 2000)
    monkeypatch.setattr(ir.ExternalTensor, "numpy", lambda _: pytest.fail("it maps the file"))
    cut(model, 12)
    parts = [onnx.load(tmp_path / "parts" / f"part{part}.onnx") for part in range(PARTS)]
    weights = [weight for part in parts for weight in part.graph.initializer]
    assert [weight.raw_data for weight in weights] == 12 * [bytes(2000)]


@pytest.mark.parametrize("beside", [False, True], ids=["in the file", "beside it"])
def test_weights_are_read_once_and_never_held_in_memory(tmp_path, beside):
    size = 32 << 20
    model = save_chain(tmp_path / "chain.onnx", 32, size // 32, beside=beside)
    held = peak(lambda: cut(model, 32))
    before = bytes_read()
    cut(model, 32)
    assert held < size / 8
    assert bytes_read() - before < 1.02 * size
