"""Calls of the CUDA driver that pycuda does not wrap; imports no library."""

from __future__ import annotations

import ctypes
from functools import cache

from backends.contract import EngineError

_THREAD_LOCAL = 1  # other threads may allocate while a stream is captured


def driver_fault() -> str:
    """Why CUDA cannot work on this machine, or nothing."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver here (libcuda.so.1)"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver finds no GPU here (CUDA error {code})"
    return ""


@cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


class Graph:
    """A CUDA graph: work that was captured from a stream and can be launched again."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self._handle: ctypes.c_void_p | None = handle

    def launch(self, stream: int) -> None:
        """Put the captured work into a stream."""
        _call("cuGraphLaunch", self._handle, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free it."""
        if self._handle is not None:
            _call("cuGraphExecDestroy", self._handle)
        self._handle = None


def begin_capture(stream: int) -> None:
    """Capture the work of the stream from now on instead of running it."""
    _call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))


def end_capture(stream: int) -> Graph:
    """The graph of the captured work.

    Raises:
        EngineError: the work cannot be captured.
    """
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    _call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
    try:
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _call("cuGraphDestroy", graph)
    return Graph(executable)


def pop_context() -> None:
    """Take the topmost context off this thread's stack."""
    _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def release_primary_context(device: int) -> None:
    """Release a retained primary context."""
    _call("cuDevicePrimaryCtxRelease_v2", ctypes.c_int(device))


def _call(name: str, *arguments: object) -> None:
    if code := _driver()[name](*arguments):
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        reason = text.value.decode() if text.value else f"error {code}"
        raise EngineError(f"CUDA: {name} failed: {reason}")
