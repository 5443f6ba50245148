"""``session.run`` beside ONNX Runtime's IO binding, for outputs of several sizes on one thread.

``scripts/bench binding``. One operator that costs next to nothing, so that what is left is how its
input gets in and its output out. The binding writes into a buffer that is made once; it is kept for
all calls, which threads cannot share, or made for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnxruntime as ort
from bench_rounds import paired, quartiles, spread
from onnx import TensorProto, helper

SHAPES = ((1, 64), (1, 4096), (1, 32, 64, 64), (1, 255, 76, 76))


def main() -> None:
    """Measure and print a table."""
    print("| output | session.run, us | a kept binding, us | a binding a call, us |")
    print("|---|---|---|---|")
    for shape in SHAPES:
        print(f"| {list(shape)} | " + " | ".join(_row(shape)) + " |", flush=True)


def _row(shape: Sequence[int]) -> Iterator[str]:
    session = _session(shape)
    image, buffer = np.ones(shape, np.float32), np.empty(shape, np.float32)
    kept = _bound(session, buffer)

    def plain() -> object:
        return session.run(["y"], {"x": image})

    def with_kept() -> None:
        kept.bind_cpu_input("x", image)
        session.run_with_iobinding(kept)

    def with_new() -> None:
        binding = _bound(session, buffer)
        binding.bind_cpu_input("x", image)
        session.run_with_iobinding(binding)

    ways: list[Callable[[], object]] = [with_kept, with_new]
    pairs = [paired(plain, way).T for way in ways]
    for seconds in (pairs[0][0], pairs[0][1], pairs[1][1]):
        yield spread(quartiles(seconds), 1e6, 1)


def _bound(session: ort.InferenceSession, buffer: np.ndarray) -> ort.IOBinding:
    binding = session.io_binding()
    where = buffer.ctypes.data
    binding.bind_output("y", "cpu", 0, buffer.dtype, buffer.shape, where)
    return binding


def _session(shape: Sequence[int]) -> ort.InferenceSession:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "relu", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    asked = ort.SessionOptions()
    asked.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), asked)
