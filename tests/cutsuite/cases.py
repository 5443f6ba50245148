"""Models with inputs: those of ``onnx.backend.test``, and what is the same for all."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import DATA_DIR, load_model_tests

from backends.contract import Array

Inputs = Sequence[object]  # arrays, and lists of arrays where the graph takes a sequence


@dataclass(frozen=True)
class Case:
    """A model and what to run it on.

    Attributes:
        name: unique among all cases.
        kind: where it is from.
        model: makes it.
        inputs: makes the lists of its inputs, in the graph's order without weights.
        external: whether its weights are to lie beside the file.
    """

    name: str
    kind: str
    model: Callable[[], onnx.ModelProto]
    inputs: Callable[[], Sequence[Inputs]]
    external: bool = False

    def write(self, folder: Path) -> Path:
        """Save the model as ``whole.onnx``."""
        path = folder / "whole.onnx"
        onnx.save(self.model(), path, save_as_external_data=self.external, location="weights")
        return path


def backend_cases() -> Iterator[Case]:
    """Every model that comes with the onnx package."""
    with warnings.catch_warnings(action="ignore"):  # they are computed while they are loaded
        nodes = load_model_tests(kind="node")
    for test in nodes:
        yield Case(test.name, "node", partial(_made, test), partial(_given, test))
    yield from stored_cases()


def stored_cases() -> Iterator[Case]:
    """Those of them that are files; the others take seconds, as they are computed."""
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for test in sorted(load_model_tests(kind=kind), key=lambda test: test.name):
            folder = Path(str(test.model_dir))
            file = folder / "model.onnx"
            yield Case(test.name, kind, partial(onnx.load, file), partial(_stored, folder))
    for file in sorted(Path(DATA_DIR, "light").glob("*.onnx")):
        yield Case(file.stem, "light", partial(onnx.load, file), partial(_drawn, file))


def _made(test: TestCase) -> onnx.ModelProto:
    assert test.model is not None, "those that are code have one"
    return test.model


def _given(test: TestCase) -> list[Inputs]:
    assert test.data_sets is not None, "those that are code have them"
    return [test.data_sets[0][0]]


def _stored(folder: Path) -> list[Inputs]:
    graph = onnx.load(folder / "model.onnx").graph
    weights = {tensor.name for tensor in graph.initializer}
    values = [value for value in graph.input if value.name not in weights]
    files = [folder / "test_data_set_0" / f"input_{number}.pb" for number in range(len(values))]
    return [[_parsed(value, file) for value, file in zip(values, files, strict=True)]]


def _parsed(value: onnx.ValueInfoProto, file: Path) -> object:
    if value.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(file.read_bytes()))
    return numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))


def _drawn(file: Path) -> list[Inputs]:
    """Random inputs, as these files come without any."""
    graph = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer}
    rng = np.random.default_rng(zlib.crc32(file.name.encode()))
    values = [value.type.tensor_type for value in graph.input if value.name not in weights]
    return [[_noise(rng, [dim.dim_value for dim in value.shape.dim]) for value in values]]


def _noise(rng: np.random.Generator, shape: list[int]) -> Array:
    return rng.standard_normal(shape).astype(np.float32)
