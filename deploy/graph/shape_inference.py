"""Shape inference, first in a child process: an untrusted file can crash it or never end."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import onnx

import backends
from backends.onnx.model_file import OnnxFileError
from backends.process.child import Limits, run_limited
from backends.user_cache import remember, remembered

_SECONDS, _MEMORY = 8.0, 4 << 30  # and more for each megabyte of the file
_CACHE_KIND = "inferred"
_ROOT = str(Path(backends.__file__).parents[1])
_TAIL = 300  # characters of the child's last line in an error

_CHILD = """\
import sys
sys.path.append(sys.argv[3])
from backends.process.child import end_with_parent
end_with_parent()
import onnx
from onnx import shape_inference
model = onnx.ModelProto()
with open(sys.argv[1], "rb") as file:
    model.ParseFromString(file.read())
inferred = shape_inference.infer_shapes(model, data_prop=True)
with open(sys.argv[2], "wb") as file:
    file.write(inferred.SerializeToString())
"""


def infer_shapes(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with every shape that follows from its operators.

    A child process infers first. A model that it succeeded with is remembered by its digest, and
    then inferred in this process.

    Args:
        model: without its large weights.
        name: of the file, for errors.

    Raises:
        OnnxFileError: its operators contradict each other, or inference crashes or does not end.
    """
    data = model.SerializeToString()
    digest = hashlib.sha256(data).hexdigest()
    if remembered(_CACHE_KIND, digest):
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    inferred = _infer_in_child(data, name)
    remember(_CACHE_KIND, digest)
    return inferred


def _infer_in_child(model: bytes, name: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target, log = (Path(folder) / name for name in ("model", "inferred", "log"))
        source.write_bytes(model)
        with log.open("w+") as output:
            command = [sys.executable, "-P", "-c", _CHILD, str(source), str(target), _ROOT]
            limits = Limits(_SECONDS + len(model) / 1e6, _MEMORY + 64 * len(model))
            ending = run_limited(command, limits, output)
        if ending or not target.is_file():
            last_line = log.read_text(errors="replace").strip().rpartition("\n")[2][-_TAIL:]
            raise OnnxFileError(
                f"model '{name}' breaks ONNX's rules: its shapes cannot be inferred: "
                f"{ending or 'no result'} {last_line}".rstrip(),
                do="Save it again with an exporter that you trust.",
            )
        inferred = onnx.ModelProto()
        inferred.ParseFromString(target.read_bytes())
    return inferred
