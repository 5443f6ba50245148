"""The desk half of the test backend."""

from dataclasses import replace

import onnx
from onnx import helper

import backends.onnxruntime.convert as honest
from backends.contract import ConversionError
from backends.onnxruntime import Options as HonestOptions
from backends.options import options_json
from backends.support import RefusedNode


def convert(segment, options, out):
    model = _rounding(segment) if options.round_to_half else onnx.load(segment.onnx)
    for node in model.graph.node:
        if node.op_type == options.unsupported_operator:
            refused = tuple(
                RefusedNode(other.name, other.op_type, "not here", output=other.output[0])
                for other in model.graph.node
                if other.op_type == node.op_type
            )
            raise ConversionError(
                f"segment '{segment.name}': no {node.op_type} here", refused=refused
            )
        if options.leaky_relu and node.name == options.leaky_relu:
            node.op_type = "LeakyRelu"
            node.attribute.append(helper.make_attribute("alpha", 0.5))
    path = out / "planted.onnx"
    onnx.save(model, path)
    made = honest.convert(replace(segment, onnx=path), HonestOptions(), out)
    return replace(made, backend="faulty", options=options_json(options))


def _rounding(segment):
    from tests.helpers.half_precision import (
        emulated,  # with much of the desk, which takes a second to import
    )

    return emulated(segment.onnx)
