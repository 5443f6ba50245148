"""Inputs, steps and comparisons for the tests of chains and pipelines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from backends import registry
from backends.contract import Artifact, TensorSpec
from deploy.runtime.results.detections import Detections
from deploy.runtime.vision.image import Placement
from tests.helpers.commands import BACKENDS
from tests.helpers.graphs import kernel, save

CPU_BACKENDS = [backend for backend in ("onnxruntime", "ncnn") if backend in BACKENDS]
THREADS = 8
SHAPE = (1, 3, 8, 12)
PLACEMENT = Placement(1, 1, 320, 320)


def noise(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)}


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", SHAPE)


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def as_bytes(result: Detections | dict[str, np.ndarray]) -> list[bytes]:
    """The tensors as bytes, to compare results bit by bit."""
    if isinstance(result, dict):
        return [result[name].tobytes() for name in sorted(result)]
    return [result.boxes.tobytes(), result.scores.tobytes(), result.labels.tobytes()]


def is_finite(detections: Detections) -> bool:
    return bool(np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all())


def converted_conv(
    name: str, source: str, target: str, folder: Path, backend: str
) -> tuple[Artifact, Any]:
    """A converted and loaded convolution."""
    nodes = [
        helper.make_node("Conv", [source, "w"], ["sums"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["sums"], [target]),
    ]
    folder.mkdir()
    shapes = {source: [*SHAPE]}, {target: [*SHAPE]}
    segment = save(folder / f"{name}.onnx", nodes, *shapes, {"w": kernel(3, 3, 3, 3) / 4})
    options = registry.options_type(backend)()
    artifact = registry.converter(backend)(segment, options, folder)
    return artifact, registry.loader(backend)(artifact, folder)


def run_concurrently(work: Callable[[int], object]) -> list:
    """The results of ``work(number)`` in eight threads that start at the same time."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> object:
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


class FailureInjector:
    """Wraps a runner or a host step's code, and raises an error in chosen threads."""

    def __init__(self, runner) -> None:
        self.runner = runner
        self.error: Exception | None = None
        self.threads: set[int] | None = None

    @contextmanager
    def failing(self, error: Exception, threads: set[int] | None = None):
        self.error, self.threads = error, threads
        try:
            yield
        finally:
            self.error = None

    def __call__(self, inputs):
        if self.error and (self.threads is None or threading.get_ident() in self.threads):
            raise self.error
        return self.runner(inputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runner.__exit__()
