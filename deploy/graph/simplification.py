"""Simplification of an ONNX graph, first in a child process: a stranger's file can crash it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import onnx

from backends.files import temporary_folder
from backends.onnx.model_file import OnnxFileError
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.terminal import program_output
from backends.user_cache import add_digest, has_digest
from deploy.graph.constant_folding import fold_constants, has_constants_to_fold
from deploy.graph.function_inlining import inline_functions
from deploy.graph.scalar_conditions import has_conditions_with_axes, make_conditions_scalar
from deploy.graph.shape_inference import (
    has_shape,
    infer_shapes,
    infer_without_hints,
    restore_hints,
    take_hints,
)

_SECONDS, _MEMORY = 8.0, 4 << 30  # and more for each megabyte of the file
_CACHE_KIND = "simplified"
_FOLD, _KEEP = "fold", "keep"  # an argument of the child
_TAIL = 300  # characters of the child's last line in an error
_MODULE = "deploy.graph.simplification"
_ROUNDS = 32  # a folded value lets shapes be inferred, and a shape lets values be folded


def simplify_graph(
    model: onnx.ModelProto, name: str, *, sizes_changed: bool, fold: bool
) -> onnx.ModelProto:
    """The model with its functions inlined and its shapes inferred, and on request folded.

    A child process does so first. A model that it succeeded with is remembered by its digest, and
    then simplified in this process.

    Args:
        model: without its large weights.
        name: of the file, for errors.
        sizes_changed: whether the sizes of inputs are other ones than those of the file.
        fold: whether nodes that give the same values in every run become constants.

    Raises:
        OnnxFileError: its operators contradict each other, or the process crashes or does not end.
    """
    to_fold = fold and (has_constants_to_fold(model) or has_conditions_with_axes(model))
    if not (sizes_changed or to_fold or model.functions) and _has_all_shapes(model.graph):
        return model
    data = model.SerializeToString()
    digest = hashlib.sha256(data + (_FOLD if fold else _KEEP).encode()).hexdigest()
    if has_digest(_CACHE_KIND, digest):
        return _simplified(model, fold=fold)
    simplified = _simplify_in_child(data, name, fold=fold)
    add_digest(_CACHE_KIND, digest)
    return simplified


def _has_all_shapes(graph: onnx.GraphProto) -> bool:
    """Whether the file has the shape of every tensor, so that none has to be inferred."""
    complete = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if has_shape(value)
        and all(dim.WhichOneof("value") for dim in value.type.tensor_type.shape.dim)
    }
    return all(name in complete for node in graph.node for name in node.output if name)


def _simplified(model: onnx.ModelProto, *, fold: bool) -> onnx.ModelProto:
    inlined = inline_functions(model)
    if not fold:
        return infer_shapes(inlined)
    inferred = infer_without_hints(inlined)
    for _ in range(_ROUNDS):
        if not fold_constants(inferred):
            break
        inferred = infer_without_hints(inferred)
    if has_conditions_with_axes(inferred):
        make_conditions_scalar(inferred)
        inferred = infer_without_hints(inferred)
    return restore_hints(inferred, take_hints(inlined))


def _simplify_in_child(model: bytes, name: str, *, fold: bool) -> onnx.ModelProto:
    with temporary_folder() as folder:
        source, target, log = (folder / part for part in ("model", "simplified", "log"))
        source.write_bytes(model)
        with log.open("w+") as output:
            flag = _FOLD if fold else _KEEP
            command = module_command(_MODULE, str(source), str(target), flag)
            limits = Limits(_SECONDS + len(model) / 1e6, _MEMORY + 64 * len(model))
            ending = run_limited(command, limits, output)
        if ending or not target.is_file():
            last_line = log.read_text(errors="replace").strip().rpartition("\n")[2][-_TAIL:]
            raise OnnxFileError(
                f"model '{name}' breaks ONNX's rules: its shapes cannot be inferred: "
                f"{ending or 'no result'} {last_line}".rstrip(),
                do="Save it again with an exporter that you trust.",
            )
        simplified = onnx.ModelProto()
        simplified.ParseFromString(target.read_bytes())
    return simplified


@program_output()
def main(source: Path, target: Path, flag: str) -> None:
    """The child process: simplifies one file and writes another."""
    end_with_parent()
    model = onnx.ModelProto()
    model.ParseFromString(source.read_bytes())
    target.write_bytes(_simplified(model, fold=flag == _FOLD).SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
