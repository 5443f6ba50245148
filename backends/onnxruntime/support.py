"""The child process that asks ONNX Runtime about a segment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime as ort

from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.onnxruntime import Options
from backends.onnxruntime.kernels import refused_nodes
from backends.onnxruntime.session import gpu_fault
from backends.options import parse_options
from backends.process.support_query import SupportQuery, answer_query
from backends.support import Support


def support_of(query: SupportQuery) -> Support:
    """The nodes that ONNX Runtime has no kernel for on the device of the options."""
    options = parse_options(Options, query.options, "onnxruntime")
    name = f"ONNX Runtime {ort.__version__}"
    if options.device == "cuda" and (fault := gpu_fault()):
        if not options.cpu_fallback:
            return Support(name, unknown=f"{name} has no GPU here: {fault}")
        options = replace(options, device="cpu")  # as it would run here
    try:
        model = read_without_weights(Path(query.onnx), inline_bytes=4096)
    except OnnxFileError as error:
        return Support(name, unknown=str(error))
    return Support(name, len(model.graph.node), refused_nodes(model, options))


if __name__ == "__main__":
    answer_query(support_of)
