"""Calls of the simulated driver, by pycuda or by ctypes where pycuda does not have them."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np

from tests.simulator import activate

GIB = 1 << 30
NON_BLOCKING = 1
OUT_OF_MEMORY, ALREADY_REGISTERED, LAUNCH_FAILED = 2, 712, 719
NOT_PERMITTED, ILLEGAL_STATE, UNSUPPORTED, INVALIDATED, WRONG_THREAD = 800, 401, 900, 901, 908
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NOT_FOUND = 500
HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def code(name: str, *arguments: object) -> int:
    """What a function that pycuda does not have returns."""
    found: int = ctypes.CDLL("libcuda.so.1")[name](*arguments)
    return found


def cuda(name: str, *arguments: object) -> None:
    assert code(name, *arguments) == 0, name


def handle(stream) -> ctypes.c_void_p:
    return ctypes.c_void_p(stream.handle)


def launch(function: ctypes._FuncPointer, stream) -> None:
    """Put a host function into a stream, in the place of a kernel."""
    cuda("cuLaunchHostFunc", handle(stream), function, None)


def begin_capture(stream, mode: int = THREAD_LOCAL) -> None:
    cuda("cuStreamBeginCapture_v2", handle(stream), mode)


def end_capture(stream) -> ctypes.c_void_p:
    """An executable graph of what was captured."""
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    cuda("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
    flags = ctypes.c_ulonglong(0)
    cuda("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags)
    cuda("cuGraphDestroy", graph)
    return executable


def end_capture_code(stream) -> int:
    graph = ctypes.c_void_p()
    result = code("cuStreamEndCapture", handle(stream), ctypes.byref(graph))
    if graph:
        cuda("cuGraphDestroy", graph)
    return result


def allocate() -> int:
    """What an allocation, which is freed at once, returns."""
    pointer = ctypes.c_ulonglong()
    result = code("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(4))
    if result == 0:
        code("cuMemFree_v2", pointer)
    return result


def in_threads(drv, *functions: Callable[[], int]) -> list[int]:
    """What functions return that run at once, each in a thread under the current context."""
    context, results = drv.Context.get_current(), {}

    def work(function: Callable[[], int]) -> None:
        context.push()
        results[function] = function()
        drv.Context.pop()

    threads = [threading.Thread(target=work, args=[each], daemon=True) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [results[function] for function in functions]


def page_locked(drv, values: list[float]) -> np.ndarray:
    array = drv.pagelocked_empty(len(values), np.float32)
    array[:] = values
    return array


def cubin(version: int, flags: int) -> bytes:
    """The header of a compiled module: a version of the format, and flags that name a GPU."""
    identification = b"\x7fELF\x02\x01\x01\x41" + bytes([version]) + bytes(7)
    return struct.pack("<16sHHIQQQIHHHHHH", identification, 2, 190, 1, 0, 0, 0, flags, 64, *[0] * 5)


def run_child(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process that this one starts; it does nothing to find the simulated driver."""
    activate()
    return subprocess.run(
        [sys.executable, "-c", f"import pycuda.driver as drv; drv.init()\n{program}"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
