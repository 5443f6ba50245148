"""What ncnn takes of a segment: by the types and forms of its nodes, and by trials of each kind.

It is asked in a child process. A node that a rewrite removes or replaces is judged by what is put
in its place, so that what can only be taken together with its neighbours is not refused.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from backends.codec import from_json, to_json
from backends.contract import Dynamic, Segment, install_hint
from backends.ncnn import Options, net_shape, runs_row_by_row
from backends.process.child import Limits, module_command, run_limited
from backends.support import RefusedNode, Support

CONVERTER = "ncnn's converter pnnx"
_CHILD = "backends.ncnn.conversion.node_support"
_SECONDS = 120


@dataclass(frozen=True)
class Request:
    """What the child process is asked.

    Attributes:
        onnx: a file.
        input_shapes: fixed ones of its inputs.
        half: whether the net computes with half precision.
    """

    onnx: str
    input_shapes: Mapping[str, tuple[int, ...]]
    half: bool = False


def support(segment: Segment, options: Options) -> Support:
    """Which nodes of a segment ncnn takes.

    What is taken of it may still fail together with other nodes.

    Args:
        segment: its file; weights may lie beside it.
        options: of the backend.
    """
    if missing := [name for name in ("ncnn", "pnnx") if find_spec(name) is None]:
        names = " and ".join(missing)
        return Support(CONVERTER, unknown=f"{names} not installed here. {install_hint('desk')}")
    if reason := _varying_sizes(segment):
        return Support(CONVERTER, refused=(RefusedNode("", "", reason),))
    shapes = {spec.name: net_shape(spec) for spec in segment.inputs}
    request = Request(str(segment.onnx.absolute()), shapes, options.fp16)
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(to_json(request)))
        log = Path(folder, "log")
        command = module_command(_CHILD, str(question), str(answer))
        with log.open("w+") as output:
            failure = run_limited(command, Limits(_SECONDS), output)
        if failure or not answer.is_file():
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            reason = "; ".join([failure or "no answer", *last])
            return Support(CONVERTER, unknown=f"the trial of its nodes ended with {reason}")
        return from_json(Support, json.loads(answer.read_text()), answer.name)


def _varying_sizes(segment: Segment) -> str:
    """Why no net can have its inputs, or nothing: sizes vary that are not the number of rows."""
    for spec in segment.inputs:
        if spec.shape is None:
            return f"its files are of fixed shape: '{spec.name}' {spec}"
        varies = any(isinstance(dim, Dynamic) for dim in spec.dims)
        if varies and not runs_row_by_row(segment.inputs, ()):
            return f"its files are of fixed shape, but for the number of rows: '{spec.name}' {spec}"
    return ""
