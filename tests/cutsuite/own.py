"""The own graphs as cases, with their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx

from backends.contract import Array
from tests.cutsuite import own_bodies, own_built, own_plain, own_types
from tests.cutsuite.cases import Case, Inputs

_HEADER = '<ir_version: 10, opset_import: ["" : {opset}, "custom" : 1, "ai.onnx.ml" : 4]>\ng '


def ramp(*shape: int) -> Array:
    """Different values around 0."""
    size = int(np.prod(shape))
    return (np.arange(size, dtype=np.float32) - size // 2 + 0.25).reshape(shape) / 2


X, YES, NO = ramp(2, 3), np.array(True), np.array(False)
_INPUTS: dict[str, list[Inputs]] = {
    "if": [[X, YES], [X, NO]],
    "nested_if": [[X, YES], [X, NO]],
    "loop_with_if": [[X, np.array(4)]],
    "scan": [[ramp(4, 3)]],
    "scan_in_if": [[ramp(4, 3), YES], [ramp(4, 3), NO]],
    "input_in_a_body_alone": [[X, -X, YES]],
    "function_in_a_body": [[X, YES]],
    "body_in_a_function": [[X, YES]],
    "sequence_captured": [[X, YES]],
    "equal_names_in_bodies": [[X, YES]],
    "constant_sequence": [[ramp(3)]],
    "input_under_another_name": [[X, X + 1]],
    "dead_ends": [[X, X]],
    "sequence": [[ramp(4, 3)]],
    "sequence_in": [[[X, X + 1], X]],
    "text": [[np.array(["a", "b", "c"], object), ramp(3)]],
    "whole_numbers": [[np.array([1, -2, 3]), np.array([True, False, True])]],
    "skipped_names": [[ramp(1, 1, 4, 4)]],
    "several_results": [[ramp(2, 4)]],
    "nothing_and_scalars": [[ramp(0, 3), np.array(2.5, np.float32)]],
    "half": [[X.astype(np.float16)]],
    "open_sizes": [[ramp(2, 3), ramp(2, 4)], [ramp(5, 3), ramp(5, 6)], [ramp(1, 3), ramp(1, 2)]],
}
_BUILT: dict[str, Callable[[], onnx.ModelProto]] = {
    "sparse": own_built.sparse,
    "weights_that_are_inputs": own_built.weights_that_are_inputs,
    "open_rank": own_built.open_rank,
    "known_only_to_onnxruntime": own_built.known_only_to_onnxruntime,
    "packed_weights": own_built.packed_weights,
    "deep": partial(own_built.deep, 5_000),
}
_EXTERNAL: dict[str, Callable[[], onnx.ModelProto]] = {
    "external_weights": own_built.shared_weights,
    "external_packed_weights": own_built.packed_weights,
}


def own_cases() -> Iterator[Case]:
    """Every own graph, called by its name in lower case."""
    for module in (own_bodies, own_plain, own_types):
        for name, text in vars(module).items():
            if name.isupper():
                yield _case(name.lower(), partial(parsed, text))
    for name, make in _BUILT.items():
        yield _case(name, make)
    for name, make in _EXTERNAL.items():
        yield _case(name, make, external=True)


def _case(name: str, make: Callable[[], onnx.ModelProto], *, external: bool = False) -> Case:
    return Case(name, "own", make, lambda: _INPUTS.get(name, [[X]]), external)


def parsed(text: str) -> onnx.ModelProto:
    """A graph in ONNX's notation."""
    return onnx.parser.parse_model(_HEADER.format(opset=21) + text)
