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

from tests.backends.tensorrt_rtx.difficult_graphs import BUILT, GRAPHS, HEADER
from tests.backends.tensorrt_rtx.real_conversions import command, convert_each
from tests.cutsuite.own_built import deep

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
