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


def cut(model: Path, layers: int) -> None:
    exported = Exported(model, (TensorSpec("t0", "float32", (1, 1)),), by_name=True)
    borders = [[f"t{layers * part // PARTS}"] for part in range(1, PARTS)]
    partition(exported, [], model.parent / "parts", across=borders)


def save_chain(path: Path, layers: int, weight_bytes: int, *, beside: bool) -> int:
    """Two nodes a layer, with weights of zeros; the bytes of all of them."""
    nodes, weights, infos = [], [], []
    for n in range(layers):
        nodes.append(helper.make_node("Add", [f"t{n}", f"w{n}"], [f"a{n}"], name=f"add{n}"))
        nodes.append(helper.make_node("Relu", [f"a{n}"], [f"t{n + 1}"], name=f"relu{n}"))
        infos += [tensor(f"a{n}"), tensor(f"t{n + 1}")]
        weights.append(
            TensorProto(name=f"w{n}", data_type=TensorProto.UINT8, dims=[weight_bytes])
            if beside
            else helper.make_tensor(
                f"w{n}", TensorProto.UINT8, [weight_bytes], bytes(weight_bytes), raw=True
            )
        )
    if beside:
        for n, weight in enumerate(weights):
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=f"{path.name}.data")
            weight.external_data.add(key="offset", value=str(n * weight_bytes))
        with path.with_name(f"{path.name}.data").open("wb") as file:
            file.truncate(layers * weight_bytes)  # a hole takes no disk
    ends = tensor("t0"), infos.pop()
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights, value_info=infos)
    onnx.save(helper.make_model(graph, ir_version=10), path)
    return layers * weight_bytes


def tensor(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])


def bytes_read() -> int:
    """By this process so far, through system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_a_node_costs_less_than_5000_instructions_of_python(tmp_path):
    counts = []
    for layers in (40, 80):
        save_chain(tmp_path / "chain.onnx", layers, 4, beside=False)
        cost = cost_of(lambda layers=layers: cut(tmp_path / "chain.onnx", layers))
        counts.append(cost.instructions)
    assert (counts[1] - counts[0]) / 80 < 5_000


def test_no_node_is_copied(tmp_path, monkeypatch):
    made = Counter()
    begin = ir.Node.__init__

    def counting(node, domain, op_type, *args, **options):
        made[op_type] += 1
        begin(node, domain, op_type, *args, **options)

    monkeypatch.setattr(ir.Node, "__init__", counting)
    save_chain(tmp_path / "chain.onnx", 12, 4, beside=False)
    cut(tmp_path / "chain.onnx", 12)
    assert made == {"Add": 12, "Relu": 12}


def test_small_weights_are_read_without_a_map_of_the_whole_file(tmp_path, monkeypatch):
    save_chain(tmp_path / "chain.onnx", 12, 2000, beside=False)
    monkeypatch.setattr(ir.ExternalTensor, "numpy", lambda _: pytest.fail("it maps the file"))
    cut(tmp_path / "chain.onnx", 12)
    parts = [onnx.load(tmp_path / "parts" / f"part{part}.onnx") for part in range(PARTS)]
    weights = [weight for part in parts for weight in part.graph.initializer]
    assert [weight.raw_data for weight in weights] == 12 * [bytes(2000)]


@pytest.mark.parametrize("beside", [False, True], ids=["in the file", "beside it"])
def test_weights_are_read_once_and_never_held_in_memory(tmp_path, beside):
    size = save_chain(tmp_path / "chain.onnx", 32, 1 << 20, beside=beside)
    held = peak(lambda: cut(tmp_path / "chain.onnx", 32))
    before = bytes_read()
    cut(tmp_path / "chain.onnx", 32)
    assert held < size / 8
    assert bytes_read() - before < 1.02 * size
