"""ONNX Runtime, which infers sizes and computes what the GPU would."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import onnxruntime as ort

_KEPT = 4  # sessions of different sizes
_ERRORS_ONLY = 3

Sizes = Mapping[str, int]  # name of a dimension -> its size


class Sessions:
    """A graph, made ready for the sizes that it is called with."""

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._made: dict[tuple[tuple[str, int], ...], Session] = {}
        self._lock = threading.Lock()

    def at(self, sizes: Sizes) -> Session:
        """The graph with these sizes.

        Raises:
            Exception: of ONNX Runtime, which does not take the graph.
        """
        key = tuple(sorted(sizes.items()))
        with self._lock:
            session = self._made.pop(key, None) or Session(self._model, sizes)
            self._made[key] = session
            while len(self._made) > _KEPT:
                del self._made[next(iter(self._made))]
            return session


class Session:
    """A graph whose sizes are known, as far as its inputs' sizes decide them."""

    def __init__(self, model: bytes, sizes: Sizes) -> None:
        asked = ort.SessionOptions()
        asked.intra_op_num_threads = asked.inter_op_num_threads = 1
        asked.log_severity_level = _ERRORS_ONLY
        for name, size in sizes.items():
            asked.add_free_dimension_override_by_name(name, size)
        self._session = ort.InferenceSession(model, asked, providers=["CPUExecutionProvider"])

    def shape(self, output: str, rank: int) -> list[int]:
        """Of an output; -1 is known only when it is computed."""
        value = next(value for value in self._session.get_outputs() if value.name == output)
        sizes = value.shape if len(value.shape) == rank else [None] * rank
        return [size if isinstance(size, int) else -1 for size in sizes]

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]:
        results: list[Any] = self._session.run(outputs, feed)
        return results
