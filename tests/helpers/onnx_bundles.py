"""Bundles of ONNX files made by hand, among them ones that do harm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Artifact, Specs, TensorSpec
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import Manifest, Verification, write_manifest

Nodes = list[onnx.NodeProto]

INPUT = TensorSpec("x", "int64", (4,))
OUTPUT = TensorSpec("y", "int64", (4,))
LEAST = -(1 << 63)


def crash(source: str = "x", target: str = "y") -> Nodes:
    """A quotient too large for 64 bits where an input is 1: it ends the process."""
    return [
        helper.make_node("Sub", [source, source], ["zero"]),
        helper.make_node("Add", ["zero", "least"], ["a"]),
        helper.make_node("Sub", ["zero", source], ["b"]),
        helper.make_node("Div", ["a", "b"], [target]),
    ]


def hang() -> Nodes:
    """A loop that is over long after the sun."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
         info("a", TensorProto.INT64, [4])],
        [info("on", TensorProto.BOOL, []), info("b", TensorProto.INT64, [4])],
    )  # fmt: skip
    return [helper.make_node("Loop", ["many", "yes", "x"], ["y"], body=body)]


def memory() -> Nodes:
    """A terabyte of zeros, of which the output is the sum."""
    return [
        helper.make_node("ConstantOfShape", ["terabyte"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["x", "whole"], ["y"]),
    ]


def double(source: str = "x", target: str = "y") -> Nodes:
    """A net that does no harm."""
    return [helper.make_node("Add", [source, source], [target])]


def onnx_bundle(
    folder: Path,
    *nets: Nodes,
    inputs: Specs = (INPUT,),
    outputs: Specs = (OUTPUT,),
    between: Sequence[TensorSpec] = (),
    **fields: object,
) -> Path:
    """A bundle of a chain of ONNX files: ``net0``, ``net1`` and so on.

    Args:
        folder: of the bundle.
        nets: the nodes of each file.
        inputs: of the chain; the first file takes them.
        outputs: of the chain; the last file makes them.
        between: the tensor from each file to the next.
        fields: further fields of the manifest.
    """
    steps, files = [], {}
    for number, nodes in enumerate(nets):
        first, last = number == 0, number == len(nets) - 1
        takes = inputs if first else (between[number - 1],)
        makes = outputs if last else (between[number],)
        name = f"net{number}/model.onnx"
        (folder / name).parent.mkdir(parents=True)
        onnx.save(_model(nodes, takes, makes), folder / name)
        files[name] = file_entry(folder / name, "engine")
        steps.append(Artifact(f"net{number}", "onnxruntime", (name,), takes, makes))
    manifest = {
        **{"model": "m", "classes": (), "inputs": inputs, "outputs": outputs},
        **{"steps": tuple(steps), "pre": None, "post": None, "sample": None, "files": files},
        **{"tools": {}, "verification": Verification("passed")},
    }
    write_manifest(folder, Manifest(**{**manifest, **fields}))
    return folder


def _model(nodes: Nodes, inputs: Specs, outputs: Specs) -> onnx.ModelProto:
    constants = {
        "many": np.array(1 << 62),
        "yes": np.array(True),
        "least": np.full(4, LEAST),
        "terabyte": np.array([1 << 38]),
    }
    used = {name for node in nodes for name in node.input}
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [_info(spec) for spec in inputs],
        [_info(spec) for spec in outputs],
        [weight for weight in weights if weight.name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _info(spec: TensorSpec) -> onnx.ValueInfoProto:
    number = getattr(TensorProto, {"float32": "FLOAT"}.get(spec.dtype, spec.dtype.upper()))
    dims = spec.shape and [dim if isinstance(dim, int) else dim.name for dim in spec.shape]
    return helper.make_tensor_value_info(spec.name, number, dims)
