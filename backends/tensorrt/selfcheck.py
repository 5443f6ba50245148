"""Checks of pycuda and the GPU, without TensorRT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np
import pycuda.driver as drv

from backends.contract import EngineError
from backends.nvidia import cuda
from backends.nvidia.gpu import Gpu, Stream, TensorBuffers, copy_from_gpu, copy_to_gpu

_VALUES = 1 << 22  # 16 MiB of float32
_THREADS = 4


def copies_and_events() -> str:
    """Copies to the GPU and back keep all values; events measure their bandwidth."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            return f"{gpu.name}, compute capability {gpu.capability}: {_round_trip(gpu)}"
    finally:
        gpu.close()


def several_threads() -> str:
    """Several threads copy at once, each in a stream of its own on one primary context."""
    gpu = Gpu(0)
    errors: list[str] = []

    def work() -> None:
        try:
            with gpu.active():
                _round_trip(gpu)
        except EngineError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gpu.close()
    if errors:
        raise EngineError(errors[0])
    return f"{_THREADS} threads"


def captured_copies() -> str:
    """Copies captured as a CUDA graph can be launched twice."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            return _capture(gpu)
    finally:
        gpu.close()


def memory_is_freed() -> str:
    """Allocated device memory is free again after ``close``."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            before = drv.mem_get_info()[0]
            buffers = TensorBuffers()
            buffers.device(_VALUES * 4)
            allocated = before - drv.mem_get_info()[0]
            buffers.close()
            after = drv.mem_get_info()[0]
    finally:
        gpu.close()
    if after < before or allocated < _VALUES * 4:
        raise EngineError("device memory", expected=f"{before} bytes free again", got=str(after))
    return f"{allocated:,} bytes taken and given back"


CHECKS: Mapping[str, Callable[[], str]] = {
    "pycuda: copies and events": copies_and_events,
    "pycuda: threads": several_threads,
    "CUDA graphs: record and replay": captured_copies,
    "pycuda: memory is given back": memory_is_freed,
}


def _round_trip(gpu: Gpu) -> str:
    sent, received, stream = TensorBuffers(), TensorBuffers(), Stream(gpu)
    source = sent.host((_VALUES,), "float32")
    source[...] = np.arange(_VALUES)
    start = stream.record_event()
    copy_to_gpu(sent.device(source.nbytes), source, stream)
    middle = stream.record_event()
    target = received.host((_VALUES,), "float32")
    copy_from_gpu(target, sent.device(0), stream)
    end = stream.record_event()
    stream.synchronize()
    equal = bool((target == np.arange(_VALUES, dtype=np.float32)).all())
    to_gpu, from_gpu = (
        source.nbytes / 1e9 / max(after.seconds_since(before), 1e-9)
        for before, after in ((start, middle), (middle, end))
    )
    for buffers in (sent, received):
        buffers.close()
    if not equal:
        raise EngineError("the values that came back from the GPU differ")
    return f"{to_gpu:.1f} GB/s there, {from_gpu:.1f} GB/s back"


def _capture(gpu: Gpu) -> str:
    sent, received, stream = TensorBuffers(), TensorBuffers(), Stream(gpu)
    source, target = (buffers.host((_VALUES,), "float32") for buffers in (sent, received))
    pointer = sent.device(source.nbytes)
    cuda.begin_capture(stream.handle)
    copy_to_gpu(pointer, source, stream)
    copy_from_gpu(target, pointer, stream)
    graph = cuda.end_capture(stream.handle)
    equal = []
    for value in (1.0, 2.0):
        source[...] = value
        graph.launch(stream.handle)
        stream.synchronize()
        equal.append(bool((target == value).all()))
    graph.close()
    for buffers in (sent, received):
        buffers.close()
    if not all(equal):
        raise EngineError("a launched CUDA graph does not repeat the captured copies")
    return "two launches"
