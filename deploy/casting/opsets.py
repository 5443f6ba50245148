"""A graph -> the same in a version of ONNX that can say what the cast needs."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import onnx_ir as ir
from onnxscript import version_converter

from deploy.casting.words import BF16, Half
from deploy.cutting.graph import bodies

_BFLOAT = 22  # the first version in which Conv, pooling and normalisation may be bfloat16
_MEASURED = 9  # the first with Where, by which magnitudes are found
_CONVERTED = 18  # from here on onnxscript converts; below, onnx does, which mistakes old bodies
_IR_VERSION = 10


def raise_opset(model: ir.Model, half: Half, folder: Path) -> None:
    """Raise the opset of an older model, where that can be done.

    Names, types and shapes stay. A model with functions stays as it is, and so do old ones with
    bodies or with what has no converter; what has no half there stays in fp32 for that reason.

    Args:
        model: the model, changed in place.
        half: the type.
        folder: where its weights lie.
    """
    needed = _BFLOAT if half is BF16 else _MEASURED
    opset = model.opset_imports.get("", needed)
    if opset >= needed or model.functions or (opset < _CONVERTED and _has_bodies(model.graph)):
        return
    with ExitStack() as stack:  # silent, since what it could not do shows in what stays in fp32
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.WARNING)
        version_converter.convert_version(model, needed, fallback=True)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    ir.external_data.set_base_dir(model.graph, folder)


def _has_bodies(graph: ir.Graph) -> bool:
    return any(True for node in graph for _ in bodies(node))
