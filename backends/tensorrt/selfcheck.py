"""What pycuda and the GPU can do here, without TensorRT."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np
import pycuda.driver as drv

from backends.contract import EngineError
from backends.tensorrt import cuda
from backends.tensorrt.gpu import Gpu, Memory, Stream, copy_in, copy_out

_VALUES = 1 << 22  # 16 MiB of float32


_THREADS = 4


def copies_and_times() -> str:
    """Numbers come back as they went, and events time the way."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            return f"{gpu.name}, compute capability {gpu.capability}: {_round_trip(gpu)}"
    finally:
        gpu.close()


def several_threads() -> str:
    """Each thread with a stream of its own on one primary context."""
    gpu = Gpu(0)
    failed: list[str] = []

    def work() -> None:
        try:
            with gpu.active():
                _round_trip(gpu)
        except EngineError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gpu.close()
    if failed:
        raise EngineError(failed[0])
    return f"{_THREADS} threads"


def recorded_copies() -> str:
    """A copy recorded as a graph, launched twice."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            return _record(gpu)
    finally:
        gpu.close()


def given_back() -> str:
    """What was allocated is free again afterwards."""
    gpu = Gpu(0)
    try:
        with gpu.active():
            before = drv.mem_get_info()[0]
            memory = Memory()
            memory.device(_VALUES * 4)
            held = before - drv.mem_get_info()[0]
            memory.close()
            after = drv.mem_get_info()[0]
    finally:
        gpu.close()
    if after < before or held < _VALUES * 4:
        raise EngineError("device memory", expected=f"{before} bytes free again", got=str(after))
    return f"{held:,} bytes taken and given back"


CHECKS: Mapping[str, Callable[[], str]] = {
    "pycuda: copies and events": copies_and_times,
    "pycuda: threads": several_threads,
    "CUDA graphs: record and replay": recorded_copies,
    "pycuda: memory is given back": given_back,
}


def _round_trip(gpu: Gpu) -> str:
    memory, stream = Memory(), Stream(gpu)
    sent = memory.host((_VALUES,), "float32")
    sent[...] = np.arange(_VALUES)
    start = stream.mark()
    copy_in(memory.device(sent.nbytes), sent, stream)
    there = stream.mark()
    back = Memory()
    found = back.host((_VALUES,), "float32")
    copy_out(found, memory.device(0), stream)
    end = stream.mark()
    stream.synchronize()
    same = bool((found == np.arange(_VALUES, dtype=np.float32)).all())
    rates = [
        sent.nbytes / 1e9 / max(b.seconds_since(a), 1e-9) for a, b in ((start, there), (there, end))
    ]
    for one in (memory, back):
        one.close()
    if not same:
        raise EngineError("the numbers that came back from the GPU are others")
    return f"{rates[0]:.1f} GB/s there, {rates[1]:.1f} GB/s back"


def _record(gpu: Gpu) -> str:
    memory, other, stream = Memory(), Memory(), Stream(gpu)
    sent, found = memory.host((_VALUES,), "float32"), other.host((_VALUES,), "float32")
    pointer = memory.device(sent.nbytes)
    cuda.begin_capture(stream.handle)
    copy_in(pointer, sent, stream)
    copy_out(found, pointer, stream)
    graph = cuda.end_capture(stream.handle)
    good = []
    for value in (1.0, 2.0):
        sent[...] = value
        graph.launch(stream.handle)
        stream.synchronize()
        good.append(bool((found == value).all()))
    graph.close()
    memory.close()
    other.close()
    if not all(good):
        raise EngineError("a recorded graph does not do again what was recorded")
    return "two launches"
