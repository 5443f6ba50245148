"""Shape inference, first in a child process: an untrusted file can crash it or never end."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import onnx

from backends.onnx.model_file import OnnxFileError
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.terminal import program_output
from backends.user_cache import add_digest, has_digest

_SECONDS, _MEMORY = 8.0, 4 << 30  # and more for each megabyte of the file
_CACHE_KIND = "inferred"
_TAIL = 300  # characters of the child's last line in an error
_MODULE = "deploy.graph.shape_inference"


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
    if has_digest(_CACHE_KIND, digest):
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    inferred = _infer_in_child(data, name)
    add_digest(_CACHE_KIND, digest)
    return inferred


def _infer_in_child(model: bytes, name: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, target, log = (Path(folder) / part for part in ("model", "inferred", "log"))
        source.write_bytes(model)
        with log.open("w+") as output:
            command = module_command(_MODULE, str(source), str(target))
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


@program_output()
def main(source: Path, target: Path) -> None:
    """The child process: infers the shapes of one file and writes another."""
    end_with_parent()
    model = onnx.ModelProto()
    model.ParseFromString(source.read_bytes())
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    target.write_bytes(inferred.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
