"""Small marked models, and a chain of their segments in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import nn

from backends.contract import Dynamic, TensorSpec
from deploy.graph.exported import Exported
from deploy.graph.nodes import mark_function
from deploy.graph.points import MarkedTensor
from deploy.mark import mark, mark_here
from deploy.partition.segments import partition


class Net(nn.Module):
    """Two inputs, a skip over the border, a shared layer, nested values, a mark called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.shared = nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    @mark("stem")
    def stem(self, image):
        return self.norm(self.conv(image)).relu()

    @mark("twice", inputs=["x"])
    def twice(self, x):
        return self.shared(x).tanh()

    @mark("head", inputs=["maps", "bias"], outputs=["logits", "means"])
    def head(self, maps, *, bias):
        return self.last(maps["deep"][0] + maps["skip"]) + bias, maps["deep"][1].mean((2, 3))

    def forward(self, image, bias):
        x = self.stem(image)
        first = mark_here("middle", self.twice(x) * 2.0)
        deep = (self.twice(first), first + 1)
        logits, means = self.head({"deep": deep, "skip": x}, bias=bias)
        return {"logits": logits, "means": means}


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def samples(batch: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(batch)
    return {"image": torch.rand(batch, 3, 8, 8), "bias": torch.rand(batch, 1, 1, 2)}


def along_batch(inputs, least: int, usual: int, most: int):
    """Axis 0 of every input varies."""
    return {name: {0: Dynamic("batch", least, usual, most)} for name in inputs}


def arrays(inputs):
    return {name: value.numpy() for name, value in inputs.items()}


def run(path: Path, inputs, specs=None):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in specs or session.get_inputs()]
    assert [entry.name for entry in session.get_inputs()] == names
    outputs = session.run(None, {name: inputs[name] for name in names})
    return dict(zip([entry.name for entry in session.get_outputs()], outputs, strict=True))


def chain(segments, inputs):
    """Every tensor of the chain by name."""
    values = dict(inputs)
    for segment in segments:
        onnx.checker.check_model(str(segment.onnx))
        found = run(segment.onnx, values, segment.inputs)
        assert list(found) == [spec.name for spec in segment.outputs]
        assert all(
            spec.accepts(found[spec.name].shape) and found[spec.name].dtype == spec.dtype
            for spec in segment.outputs
        )
        values |= found
    return values


def from_text(text: str, folder: Path, dropped: tuple[MarkedTensor, ...] = ()) -> Exported:
    """A graph in ONNX's own notation, as if exported; ``mark_of`` writes its marks."""
    model = ir.from_onnx_text(text)
    function = mark_function(model.graph.opset_imports[""])
    model.functions[function.identifier()] = function
    model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "exported.onnx"
    ir.save(model, path, external_data="exported.onnx.data")
    specs = [
        tuple(TensorSpec(v.name, "float32", tuple(v.shape)) for v in values)
        for values in (model.graph.inputs, model.graph.outputs)
    ]
    found = [
        MarkedTensor(
            node.attributes["mark"].as_string(),
            node.attributes["call"].as_int(),
            node.attributes["side"].as_string(),
            node.attributes["path"].as_string(),
        )
        for node in model.graph
        if node.op_type == "Mark"
    ]
    return Exported(path, *specs, (*found, *dropped))


def mark_of(result: str, name: str, source: str) -> str:
    """A mark ``name:output.name`` in ONNX's notation."""
    attributes = f'mark = "{name}", call = 0, side = "output", path = "{name}"'
    return f"{result} = deploy.Mark <{attributes}> ({source})"


def cut_and_compare(exported, cuts, inputs, folder):
    """Assert that chain and whole give the same bits; return the chain's tensors."""
    (whole,) = partition(exported, [], folder / "whole").segments
    expected = run(whole.onnx, inputs)
    values = chain(partition(exported, cuts, folder / "cut").segments, inputs)
    for name in expected.keys() & values.keys():
        assert (expected[name] == values[name]).all(), name
    return values
