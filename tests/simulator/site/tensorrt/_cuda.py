"""The CUDA driver, as far as the double needs it."""

from __future__ import annotations

import ctypes
from functools import cache

_MAJOR, _MINOR = 75, 76  # attributes: the compute capability


class CudaError(Exception):
    """A call of the driver failed."""


@cache
def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError("CUDA initialization failure with error: 35") from error


def _call(name: str, *arguments: object) -> None:
    if code := getattr(_driver(), name)(*arguments):
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise CudaError((text.value or b"unknown error").decode())


def start() -> None:
    """What the first call of CUDA's runtime does."""
    _call("cuInit", 0)


def current() -> int:
    """The thread's current context, or 0."""
    context = ctypes.c_void_p()
    _call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value or 0


def device() -> int:
    """The device of the current context."""
    number = ctypes.c_int()
    _call("cuCtxGetDevice", ctypes.byref(number))
    return number.value


def name(device: int) -> str:
    text = ctypes.create_string_buffer(256)
    _call("cuDeviceGetName", text, len(text), device)
    return text.value.decode()


def capability(device: int) -> tuple[int, int]:
    """The compute capability."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    return major.value, minor.value


def allocate(size: int) -> int:
    pointer = ctypes.c_void_p()
    _call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
    return pointer.value or 0


def free(context: int, pointer: int) -> None:
    """Free memory of this context, whichever is current."""
    _call("cuCtxPushCurrent_v2", ctypes.c_void_p(context))
    try:
        _call("cuMemFree_v2", ctypes.c_void_p(pointer))
    finally:
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def inside(pointer: int, size: int) -> bool:
    """Whether these bytes lie inside one allocation."""
    return bool(_driver().sim_inside(ctypes.c_void_p(pointer), ctypes.c_size_t(size)))


def capturing(stream: int) -> bool:
    status = ctypes.c_int()
    _call("cuStreamIsCapturing", ctypes.c_void_p(stream), ctypes.byref(status))
    return status.value != 0


def synchronize(stream: int) -> None:
    _call("cuStreamSynchronize", ctypes.c_void_p(stream))


def launch(stream: int, function: object, data: int) -> None:
    """Queue a function of the host."""
    _call("cuLaunchHostFunc", ctypes.c_void_p(stream), function, ctypes.c_void_p(data))
