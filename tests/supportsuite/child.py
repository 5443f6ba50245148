"""The process that asks an engine and converts: ``BACKEND NAMES OUT SECONDS``.

It writes the name of each model before it starts, and its verdict behind it.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from backends.acceptance import AcceptanceRule
from backends.contract import Array, DeployError, Segment
from backends.error_metrics import compare_all
from backends.nvidia.preflight import BUILT_BY_RTX
from backends.onnx.functions import segment_without_functions
from backends.onnx.specs import read_segment
from backends.options import options_json
from backends.process.child import end_with_parent
from backends.process.large_stack import call_with_large_stack
from backends.process.support_query import SupportQuery
from backends.registry import about, converter, loader, options_type

CHILDREN = {
    "onnxruntime": "backends.onnxruntime.support",
    "openvino": "backends.openvino.support",
    "tensorrt_rtx": "backends.nvidia.parser_query",
}
SKIPPED = "no inputs, or no tensors"


def node_tests() -> dict[str, TestCase]:
    """The node tests of the onnx package by name."""
    with warnings.catch_warnings(action="ignore"):  # they are computed while they are loaded
        return {test.name: test for test in load_model_tests(kind="node")}


def main(backend: str, names: Path, out: Path, seconds: int) -> None:
    """Judge every model of a file."""
    tests = node_tests()
    with out.open("a") as lines:
        for name in names.read_text().split():
            print(json.dumps({"start": name}), file=lines, flush=True)
            signal.alarm(seconds)
            verdict, why = judged(backend, tests[name])
            signal.alarm(0)
            print(
                json.dumps({"name": name, "verdict": verdict, "why": why}), file=lines, flush=True
            )


def judged(backend: str, test: TestCase) -> tuple[str, str]:
    """The verdict on a model, and the reason that the engine gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx.save(test.model, path)
        try:
            segment = read_segment(path, "model", {})
        except DeployError:
            return SKIPPED, ""
        refusal = _refusal(backend, segment)
        failure = _failure(backend, segment, test, Path(folder))
    if refusal:
        return ("refused rightly" if failure else "refused, but converts and agrees"), refusal
    return (f"taken, but {failure[0]}", failure[1]) if failure else ("taken rightly", "")


def _refusal(backend: str, segment: Segment) -> str:
    if reason := about(backend).border_obstacle(segment.inputs, segment.outputs):
        return reason
    rtx = {BUILT_BY_RTX: True} if backend == "tensorrt_rtx" else {}
    options = {**options_json(options_type(backend)()), **rtx}
    query = SupportQuery("model", str(segment.onnx), segment.inputs, segment.outputs, options)
    support = importlib.import_module(CHILDREN[backend]).support_of(query)
    return support.unknown or "; ".join(map(str, support.refused))


def _failure(
    backend: str, segment: Segment, test: TestCase, folder: Path
) -> tuple[str, str] | None:
    """What goes wrong when the model is converted, loaded and run; None if nothing does."""
    (folder / "out").mkdir()
    try:
        if not about(backend).functions:
            segment = segment_without_functions(segment, folder / "inlined")
        artifact = converter(backend)(segment, options_type(backend)(), folder / "out")
    except DeployError as error:
        return "does not convert", str(error)
    if about(backend).obstacle():
        return None
    given, expected = test.data_sets[0]
    inputs = {spec.name: _array(v) for spec, v in zip(segment.inputs, given, strict=True)}
    outputs = {spec.name: _array(v) for spec, v in zip(segment.outputs, expected, strict=True)}
    try:
        with loader(backend)(artifact, folder / "out") as runner:
            metrics = compare_all(outputs, runner(inputs))
    except DeployError as error:
        return "does not run", str(error)
    rule = AcceptanceRule()
    wrong = [each for each in metrics if not rule.tolerance("fp32", each.tensor).admits(each)]
    return ("computes other values", str(wrong[0])) if wrong else None


def _array(value: object) -> Array:
    if isinstance(value, onnx.TensorProto):
        return np.asarray(onnx.numpy_helper.to_array(value))
    return np.asarray(value)


if __name__ == "__main__":
    end_with_parent()
    engine, listed, told, limit = sys.argv[1:]
    call_with_large_stack(lambda: main(engine, Path(listed), Path(told), int(limit)))
