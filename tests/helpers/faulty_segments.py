"""A chain whose segments can be converted by a faulty backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from rich.console import Console
from torch import nn

from backends import registry
from deploy import convert as stage
from deploy.graph.loading import load_graph
from deploy.partition import segments
from deploy.pipeline.run import run_pipeline
from deploy.recipe.output_paths import RunPaths
from deploy.recipe.schema import (
    BackendRecipe,
    BenchRecipe,
    InputRecipe,
    MarkRecipe,
    ModelRecipe,
    PartitionRecipe,
    PrecisionRecipe,
    Recipe,
)
from deploy.report.progress import Progress
from deploy.report.run_result import RunResult
from tests.helpers.faulty_backends import PACKAGES_WITH_FAULTY

REFERENCE = BackendRecipe("onnxruntime", {"optimize": "off"})

# part0: a residual block; part1: numbers that half precision does not hold in its middle;
# part2: a mean over axes that are computed
GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[1, 3, 6, 8] image) => (float[1, 4, 6, 8] out) {
    [stem] s = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w3)
    [act0] a0 = Relu (s)
    [left] l = Conv <kernel_shape = [1, 1]> (a0, w4)
    [act1] a1 = Relu (l)
    [right] r = Conv <kernel_shape = [1, 1]> (a1, w4)
    [join] j = Add (r, a0)
    [act2] features = Relu (j)
    [up] u = Mul (features, large)
    [higher] h = Mul (u, large)
    [bend] b = Sqrt (h)
    [down] scaled = Mul (b, small)
    [mix] m = Conv <kernel_shape = [1, 1]> (scaled, w4)
    [shape] size = Shape <start = 3> (m)
    [axes] axes = Sub (size, five)
    [mean] mean = ReduceMean <keepdims = 1> (m, axes)
    [centre] c = Sub (m, mean)
    [act3] out = Relu (c)
}
"""


def model(path: Path) -> Path:
    """Write the graph; its nodes say that they are of a module ``net.<name>``."""
    noise = np.random.default_rng(3)
    weights = {
        "w3": noise.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "w4": noise.standard_normal((4, 4, 1, 1)).astype(np.float32),
        "large": np.float32(400),
        "small": np.float32(0.0025),
        "five": np.array([5]),
    }
    made = onnx.parser.parse_model(GRAPH)
    made.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
    for node in made.graph.node:
        entries = {
            "name_scopes": ["", "net", f"net.{node.name}", f"{node.op_type}_1"],
            "class_hierarchy": ["my.Net", "my.Body", f"my.{node.op_type}", "aten.op"],
            "stack_trace": 'File "/src/my.py", line 7, in forward\n  x\nFile "/venv/lib/'
            'site-packages/torch/nn/modules/module.py", line 1, in _call_impl',
        }
        for key, value in entries.items():
            node.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=str(value))
    onnx.save(made, path)
    return path


def recipe(folder: Path, **chain: BackendRecipe) -> Recipe:
    """The graph in three segments, each in ONNX Runtime or as ``chain`` has it."""
    return Recipe(
        ModelRecipe("net", file=str(model(folder / "net.onnx")), reference=REFERENCE),
        BackendRecipe("onnxruntime"),
        partition=PartitionRecipe(cuts=["features", "scaled"]),
        chain=chain,
        precision=PrecisionRecipe(REFERENCE),
        bench=BenchRecipe(runs=0),
    )


class Net(nn.Module):
    """A model of PyTorch, to be cut behind its body."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Conv2d(4, 2, 1)

    def forward(self, image):
        return self.head(self.body(image))


def torch_recipe(**chain: BackendRecipe) -> Recipe:
    """The model of PyTorch in two segments."""
    model = ModelRecipe(
        "net",
        target=f"{__name__}:Net",
        inputs={"image": InputRecipe([1, 3, 8, 8])},
        marks={"body": MarkRecipe("body")},
    )
    return Recipe(
        model,
        BackendRecipe("onnxruntime"),
        partition=PartitionRecipe(cuts=["body"]),
        chain=chain,
        bench=BenchRecipe(runs=0),
    )


def deploy_with_faults(planned: Recipe, folder: Path, monkeypatch) -> tuple[Path, RunResult]:
    """Deploy with the faulty backends; a conversion is not compared with its sample."""
    monkeypatch.setattr(registry, "_packages", lambda: PACKAGES_WITH_FAULTY)
    # axes that are computed are the place of one fault, and folding would make them constants
    monkeypatch.setattr(segments, "load_graph", lambda exported, **_: load_graph(exported))
    convert_in_child = stage.convert_in_child
    monkeypatch.setattr(
        stage,
        "convert_in_child",
        lambda *arguments: convert_in_child(*arguments[:4], None, *arguments[5:]),
    )
    paths = RunPaths(folder / "bundle", folder / "bundle.work")
    return paths.bundle, run_pipeline(planned, paths, Progress(Console(quiet=True)))
