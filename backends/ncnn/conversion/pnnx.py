"""pnnx, the converter of ncnn, as a child process that may crash."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import IO

import onnx
from onnx.external_data_helper import load_external_data_for_model

from backends.contract import MissingLibraryError, install_hint
from backends.ncnn.conversion.fixed_graph import Shape
from backends.process.child import failure

PARAM, BIN, SCRIPT = "model.ncnn.param", "model.ncnn.bin", "model_ncnn.py"
MODEL = "segment.onnx"
AXES = "axes.json"  # the batch axes of the net's inputs and outputs, of which pnnx writes a script
_LOG = "pnnx.log"
_TYPES = {
    onnx.TensorProto.FLOAT: "f32",
    onnx.TensorProto.FLOAT16: "f16",
    onnx.TensorProto.INT64: "i64",
    onnx.TensorProto.INT32: "i32",
    onnx.TensorProto.BOOL: "bool",
}


@dataclass(frozen=True)
class PnnxRun:
    """What pnnx left in a folder.

    Attributes:
        folder: with its files.
        failure: how it ended, such as ``signal SIGSEGV``; empty where it reports success.
        log: what it printed.
    """

    folder: Path
    failure: str
    log: str

    @property
    def param(self) -> Path:
        """The net."""
        return self.folder / PARAM

    @property
    def bin(self) -> Path:
        """Its weights."""
        return self.folder / BIN

    @property
    def is_complete(self) -> bool:
        """Whether the net and its weights are there."""
        return not self.failure and all(
            path.is_file() and path.stat().st_size for path in (self.param, self.bin)
        )


def run_pnnx(
    model: onnx.ModelProto,
    shapes: Sequence[Shape],
    folder: Path,
    fp16: bool = False,
    seconds: float | None = None,
) -> PnnxRun:
    """Convert a model in a folder that is there for it.

    pnnx has the limits of this process, and ends with its process group.

    Args:
        model: with its weights.
        shapes: of its inputs, in their order.
        folder: an empty one; pnnx writes beside the model.
        fp16: whether the weights are written in half precision.
        seconds: until it is killed; None leaves that to the limits of this process.
    """
    _name_apart(model.graph.node)
    # pnnx reads external data from <model>.data
    onnx.save(model, folder / MODEL, save_as_external_data=True, location=f"{MODEL}.data")
    load_external_data_for_model(model, str(folder))  # what was saved has lost its weights
    command = [str(_binary()), MODEL, f"inputshape={_input_shapes(model, shapes)}"]
    command += [f"fp16={int(fp16)}", f"ncnnparam={PARAM}", f"ncnnbin={BIN}", f"ncnnpy={SCRIPT}"]
    log = folder / _LOG
    with log.open("w") as output:
        ended = _run(command, folder, output, seconds)
    weights = folder / BIN
    if not ended and weights.is_file() and not weights.stat().st_size:
        weights.write_bytes(bytes(4))  # a net without weights: ncnn crashes on an empty file
    return PnnxRun(folder, ended, log.read_text(errors="replace"))


def _name_apart(nodes: Iterable[onnx.NodeProto]) -> None:
    """Number nodes of one name, such as those of a rewrite: pnnx crashes where it folds one."""
    names = {node.name for node in nodes}
    used: set[str] = set()
    for node in nodes:
        if node.name in used:
            numbered = (f"{node.name}.{number}" for number in count())
            node.name = next(name for name in numbered if name not in names)
            names.add(node.name)
        used.add(node.name)


def _input_shapes(model: onnx.ModelProto, shapes: Sequence[Shape]) -> str:
    types = [_TYPES.get(value.type.tensor_type.elem_type, "f32") for value in model.graph.input]
    return ",".join(
        f"[{','.join(map(str, shape))}]{kind}" for shape, kind in zip(shapes, types, strict=True)
    )


def _run(command: Sequence[str], folder: Path, output: IO[str], seconds: float | None) -> str:
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {seconds:g} s"
    return failure(ended.returncode)


def _binary() -> Path:
    # importing the pnnx package would import torch
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise MissingLibraryError("pnnx is missing", do=install_hint("desk"))
    return Path(spec.origin).with_name("pnnx")
