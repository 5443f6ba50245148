"""Run graphs in ONNX Runtime without optimisation, and compare the outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def run_unoptimized(model: Path | bytes, inputs: dict) -> dict:
    """The outputs by name, without any optimisation of the graph."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    outputs = session.run(None, {name: inputs[name] for name in names})
    return dict(zip([entry.name for entry in session.get_outputs()], outputs, strict=True))


def all_tensors(path: Path, inputs: dict) -> dict:
    """Every tensor of an exported model by its name, and by its points where it is marked."""
    proto = onnx.load(path)
    points = {}
    known = {value.name for value in proto.graph.output}
    for node in proto.graph.node:
        if node.op_type == "Mark":
            at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            call = f"[{at['call']}]" if at["call"] else ""
            point = f"{at['mark'].decode()}{call}:{at['side'].decode()}.{at['path'].decode()}"
            points[point] = node.output[0]
        for name in node.output:
            if name and name not in known:
                proto.graph.output.append(onnx.ValueInfoProto(name=name))
    values = inputs | run_unoptimized(proto.SerializeToString(), inputs)
    return values | {point: values[name] for point, name in points.items()}


def same(found, expected) -> bool:
    """Whether all bits, the type and the shape are equal."""
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


def close(found, expected) -> bool:
    """Whether type and shape are equal and floats nearly so."""
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return False
    if found.dtype != np.float32:
        return bool((found == expected).all())
    return bool(np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max()))
