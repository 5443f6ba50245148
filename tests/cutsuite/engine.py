"""ONNX Runtime, always with the same settings: one thread, and the graph as it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from backends.onnxruntime import run
from tests.cutsuite.values import Tensor

FAILURES = (*run.FAILURES, RuntimeError, ValueError)  # by which ONNX Runtime says no
Feed = Mapping[str, object]  # tensors, and as NumPy values in lists what is a sequence


class Engine:
    """A loaded model.

    Attributes:
        inputs: the type of each input that must be given, such as ``tensor(float)``.
        outputs: the type of each output, such as ``seq(tensor(float))``.
    """

    def __init__(self, model: Path | onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        self.outputs = {entry.name: entry.type for entry in self._session.get_outputs()}

    @property
    def has_tensors_alone(self) -> bool:
        """Whether all inputs and outputs are tensors."""
        kinds = (*self.inputs.values(), *self.outputs.values())
        return all(kind.startswith("tensor") for kind in kinds)

    def __call__(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Its outputs by name; ``feed`` may hold more than its inputs."""
        given = {name: feed[name].value for name in self.inputs}
        found = self._session.run_with_ort_values(list(self.outputs), given)
        return dict(zip(self.outputs, map(Tensor, found), strict=True))

    def repeats(self, feed: Feed) -> bool:
        """Whether two runs give the same, also where inputs or outputs are no tensors."""
        return _equal(self._loose(feed), self._loose(feed))

    def _loose(self, feed: Feed) -> list[object]:
        given = {name: feed[name] for name in self.inputs}
        values = {n: v.value if isinstance(v, Tensor) else v for n, v in given.items()}
        if self.has_tensors_alone:
            return list(map(Tensor, self._session.run_with_ort_values(list(self.outputs), values)))
        return list(self._session.run(list(self.outputs), values))


def types_of(model: Path, tensors: Iterable[str]) -> dict[str, str]:
    """The type of each tensor in a model, as ONNX Runtime infers it."""
    proto = onnx.load(model, load_external_data=False)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    probe = model.with_name(f"{model.name}.probe")
    probe.write_bytes(proto.SerializeToString())
    try:
        return Engine(probe).outputs
    finally:
        probe.unlink()


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.same_as(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and bool(
            np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    return one == other
