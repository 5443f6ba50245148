"""Cast files: cast on a sample, checked, and run with every half value rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Dynamic, Segment
from backends.onnx.specs import read_segment
from deploy.precision.cast_to_half import cast_to_half
from deploy.precision.definitions import CastRequest, CastResult
from deploy.recipe.schema import BackendRecipe
from tests.helpers.reference_run import run_unoptimized

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
ENGINE = BackendRecipe("onnxruntime", {"optimize": "off"})


class AnySize(dict):
    """A range for every name of a dimension."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Dynamic:
        return Dynamic(name or "any", 0, 1, 2**31 - 1)


def segment_of(text: str, folder: Path, opset: int = 20, **weights) -> Segment:
    """A graph in ONNX's own notation as a segment ``net``."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\ng {text}')
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    path = folder / "net.onnx"
    onnx.save(model, path)
    return read_segment(path, "net", AnySize())


def cast(segment: Segment, sample: dict, asked: CastRequest | str = "fp16") -> CastResult:
    """Cast a segment into the folder ``cast`` beside it, and check the file."""
    chosen = CastRequest(asked) if isinstance(asked, str) else asked
    casting = cast_to_half(segment, chosen, sample, ENGINE, segment.onnx.parent / "cast")
    check_types(casting.segment)
    return casting


def check_types(segment: Segment) -> None:
    """Assert that the file is valid, every type in it right, and its specs as it says."""
    model = onnx.load(segment.onnx)
    specs = {spec.name: spec.dtype for spec in (*segment.inputs, *segment.outputs)}
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        assert specs[value.name] == helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        tensor.shape.SetInParent()  # the checker wants one, also of an open rank
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def kept(casting: CastResult) -> dict[str, str]:
    """Why each node stays in fp32."""
    return {node.node: node.why for node in casting.kept}


def types(segment: Segment) -> dict[str, str]:
    """The type of each value that nodes make, by its name."""
    model = ir.load(segment.onnx)
    return {value.name: value.dtype.name for node in model.graph for value in node.outputs}


def run_half(segment: Segment, inputs: dict) -> dict:
    """The outputs by name, every value of half precision rounded to it."""
    return run_unoptimized(emulated(segment.onnx).SerializeToString(), inputs)


def emulated(path: Path) -> onnx.ModelProto:
    """A cast file whose nodes compute in fp32, with what is half rounded to half between them.

    So do engines that keep sums in fp32. ONNX Runtime on a CPU has no kernels for bfloat16, and
    for most of float16 computes in fp32 from one node to the next.
    """
    model = onnx.load(path)
    graph = model.graph
    halves = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    halves |= {weight.name: weight.data_type for weight in graph.initializer}
    halves = {name: kind for name, kind in halves.items() if kind in _HALVES}
    given = [
        name for name in halves if name in {v.name for v in (*graph.input, *graph.initializer)}
    ]
    nodes = [_wide(name) for name in given]
    nodes += [done for node in graph.node for done in _rounded(node, halves)]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _rounded(node: onnx.NodeProto, halves: dict[str, int]) -> list[onnx.NodeProto]:
    after = []
    computes = node.op_type != "Cast" and not any(a.HasField("g") for a in node.attribute)
    for number, name in enumerate(node.input):
        if name in halves and (computes or node.op_type == "Cast"):
            node.input[number] = f"{name}/wide"
    for number, name in enumerate(node.output):
        if name in halves:
            if computes:
                node.output[number] = f"{name}/exact"
                after.append(helper.make_node("Cast", [f"{name}/exact"], [name], to=halves[name]))
            after.append(_wide(name))
    return [node, *after]


def _wide(name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [f"{name}/wide"], to=TensorProto.FLOAT)
