"""The desk half of the test backend."""

from dataclasses import replace

import onnx
from onnx import helper

import backends.onnxruntime.convert as honest
from backends.contract import ConversionError
from backends.onnxruntime import Options as HonestOptions
from backends.options import options_json


def convert(segment, options, out):
    model = _rounding(segment) if options.rounds else onnx.load(segment.onnx)
    for node in model.graph.node:
        if node.op_type == options.unable:
            raise ConversionError(f"segment '{segment.name}': no {node.op_type} here")
        if options.leaks and node.name == options.leaks:
            node.op_type = "LeakyRelu"
            node.attribute.append(helper.make_attribute("alpha", 0.5))
    path = out / "planted.onnx"
    onnx.save(model, path)
    made = honest.convert(replace(segment, onnx=path), HonestOptions(), out)
    return replace(made, backend="saboteur", options=options_json(options))


def _rounding(segment):
    from tests.helpers.halves import (
        emulated,  # with much of the desk, which takes a second to import
    )

    return emulated(segment.onnx)
