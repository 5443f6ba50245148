"""What NVIDIA's ONNX parser takes of a file, on machines without a GPU.

The parser is that of TensorRT for RTX, the only one that runs without NVIDIA's driver. For TensorRT
itself its word is a strong hint and no proof: the two differ in plugins and in versions. It runs in
a child process, which a bad file may crash.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from backends.codec import from_json, to_json
from backends.contract import Segment, install_hint
from backends.nvidia.bindings import bindings_of
from backends.nvidia.network import refused_node
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.process.large_stack import call_with_large_stack
from backends.support import Support
from backends.terminal import program_output

_MODULE = "tensorrt_rtx_bindings"
_PARSER = "the parser of TensorRT for RTX"
_SECONDS = 300


def parser_support(segment: Segment, options: object, instead_of: str = "") -> Support:
    """Ask the parser about a segment, in a child process.

    Args:
        segment: its file; weights may lie beside it.
        options: of the backend, which change nothing.
        instead_of: the product whose own parser cannot be asked here; the answer says so.
    """
    if find_spec(_MODULE) is None:
        return Support(_PARSER, unknown=f"{_PARSER} is not here. {install_hint('tensorrt-rtx')}")
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder, "answer.json"), Path(folder, "log")
        command = module_command(__name__, str(segment.onnx.absolute()), str(answer))
        with log.open("w+") as output:
            failure = run_limited(command, Limits(_SECONDS), output)
        if failure or not answer.is_file():
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            reason = "; ".join([failure or "no answer", *last])
            return Support(_PARSER, unknown=f"{_PARSER} ended with {reason}")
        support = from_json(Support, json.loads(answer.read_text()), "answer.json")
    if instead_of:
        return replace(support, parser=f"{support.parser}, in the place of {instead_of}'s own,")
    return support


@program_output()
def main() -> None:
    """The child process: ``MODEL.onnx ANSWER.json``."""
    end_with_parent()
    onnx, answer = map(Path, sys.argv[1:])
    answer.write_text(json.dumps(to_json(call_with_large_stack(lambda: _ask(onnx)))))


def _ask(onnx: Path) -> Support:
    import tensorrt_rtx_bindings as rtx
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    bindings = bindings_of(rtx, "TensorRT for RTX")
    builder = bindings.builder(bindings.logger)
    network = builder.create_network(bindings.typed_network)
    parser = rtx.OnnxParser(network, bindings.logger)
    name = f"{_PARSER} {bindings.version}"
    model = onnx.read_bytes()
    try:
        nodes = ModelProto.FromString(model).graph.node
    except DecodeError as error:
        return Support(name, unknown=f"'{onnx.name}' is not an ONNX file: {error}")
    names = [node.name or f"number {number}" for number, node in enumerate(nodes)]
    if parser.supports_model_v2(model, str(onnx)):
        return Support(name, len(names))
    groups = tuple(
        tuple(names[node] for node in parser.get_subgraph_nodes(group))
        for group in range(parser.num_subgraphs)
    )
    errors = map(parser.get_error, range(parser.num_errors))
    refused = tuple(dict.fromkeys(map(refused_node, errors)))
    if not refused:
        return Support(
            name, len(names), unknown=f"{_PARSER} gives no node: {bindings.messages.take()}"
        )
    return Support(name, len(names), refused, groups)


if __name__ == "__main__":
    main()
