"""Computations that wait in a stream."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from . import _cuda as cuda
from ._session import Session

_POISON = 0xFF  # NaN in every floating-point type


@dataclass(frozen=True)
class Place:
    """Memory of a tensor."""

    name: str
    address: int
    dtype: Any
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * int(np.dtype(self.dtype).itemsize)

    def array(self) -> Any:
        """NumPy's view of it.

        Raises:
            MemoryError: it does not lie inside one allocation of the device.
        """
        if not self.nbytes:
            return np.empty(self.shape, self.dtype)
        if not _foreign() and not cuda.inside(self.address, self.nbytes):
            raise MemoryError(f"{self.name}: {self.nbytes} bytes at {self.address:#x} are not ours")
        held: Any = (ctypes.c_char * self.nbytes).from_address(self.address)
        return np.frombuffer(held, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Job:
    """One computation."""

    session: Session
    inputs: list[Place]
    outputs: list[Place]
    finished: Callable[[], object]

    def run(self) -> None:
        """Compute; whatever fails is printed, and no output keeps what it had."""
        try:
            feed = {place.name: place.array() for place in self.inputs}
            names = [place.name for place in self.outputs]
            found = self.session.run(names, feed) if names else []
            for place, value in zip(self.outputs, found, strict=True):
                _write(place, value)
        except Exception:  # noqa: BLE001 - nobody above could catch it
            self.fail()
        finally:
            self.finished()

    def fail(self) -> None:
        print("[double of TensorRT] an enqueued computation failed:", file=sys.stderr)
        traceback.print_exc()
        for place in self.outputs:
            if place.nbytes and (_foreign() or cuda.inside(place.address, place.nbytes)):
                ctypes.memset(place.address, _POISON, place.nbytes)


def _write(place: Place, value: Any) -> None:
    if value.shape != place.shape or value.dtype != place.dtype:
        raise ValueError(f"{place.name}: computed {value.dtype}{value.shape}, expected {place}")
    place.array()[...] = value


def _foreign() -> bool:
    """Whether tensors may lie in memory that the driver does not know."""
    return bool(os.environ.get("SIM_TENSORRT_FOREIGN"))


_waiting: dict[int, tuple[Job, bool]] = {}  # and whether a graph keeps it
_numbers = count(1)


def enqueue(stream: int, job: Job, recorded: bool) -> int:
    """Put a job into a stream; its number."""
    number = next(_numbers)
    _waiting[number] = (job, recorded)
    try:
        cuda.launch(stream, _RUN, number)
    except cuda.CudaError:
        drop([number])
        raise
    return number


def drop(numbers: list[int]) -> None:
    """Forget recorded jobs, whose execution context is gone."""
    for number in numbers:
        _waiting.pop(number, None)


def _run(number: int) -> None:
    job, recorded = _waiting.get(number, (None, False))
    if not recorded:
        _waiting.pop(number, None)
    if job is None:
        text = "a CUDA graph outlived the execution context that it was recorded from"
        print(f"[double of TensorRT] {text}", file=sys.stderr)
    else:
        job.run()


_RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_run)
