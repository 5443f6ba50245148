"""A double of ONNX Runtime's CUDA provider: its own CPU provider, told that it is a GPU.

Everything is the real library but the word: what is bound to ``cuda`` is bound to ``cpu``, where
the simulated driver's memory lies. What only a GPU has, such as kernels and streams, is not here.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

CUDA = "CUDAExecutionProvider"
FROM_NUMPY = ort.OrtValue.ortvalue_from_numpy


class Binding:
    """An IO binding whose ``cuda`` is the CPU."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.real = session.io_binding()

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert device_type == "cuda", device_type
        self.real.bind_input(name, "cpu", 0, element_type, shape, buffer_ptr)

    def bind_output(self, name, device_type, device_id):
        assert device_type == "cuda", device_type
        self.real.bind_output(name, "cpu", 0)

    def get_outputs(self):
        return [on_device(value.numpy()) for value in self.real.get_outputs()]


def on_device(array: np.ndarray, number: int = 0) -> ort.OrtValue:
    """A copy in a simulated device's memory, which is freed with the value."""
    context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
    with _current(context):
        _call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(array.nbytes, 1)))
    memory = (ctypes.c_uint8 * array.nbytes).from_address(pointer.value)
    weakref.finalize(memory, _free, context, pointer, number)
    copy = np.frombuffer(memory, array.dtype).reshape(array.shape)
    copy[...] = array
    return FROM_NUMPY(copy, "cpu", 0)


def _free(context: ctypes.c_void_p, pointer: ctypes.c_uint64, number: int) -> None:
    with _current(context):
        _call("cuMemFree_v2", pointer)
    _call("cuDevicePrimaryCtxRelease_v2", number)


@contextmanager
def _current(context: ctypes.c_void_p) -> Iterator[None]:
    _call("cuCtxPushCurrent_v2", context)
    try:
        yield
    finally:
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def _call(name: str, *arguments: object) -> None:
    code = ctypes.CDLL("libcuda.so.1")[name](*arguments)
    assert code == 0, (name, code)


class Session:
    """A session that says it is on a GPU, and remembers how it was asked for."""

    def __init__(
        self, real: type, path: Path, asked: ort.SessionOptions, providers: list[Any]
    ) -> None:
        self.providers = providers
        self.no_fallback = asked.get_session_config_entry("session.disable_cpu_ep_fallback")
        self.real = real(path, ort.SessionOptions(), providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return [one if isinstance(one, str) else one[0] for one in self.providers]

    def io_binding(self) -> Binding:
        return Binding(self.real)

    def run_with_iobinding(self, binding: Binding) -> None:
        self.real.run_with_iobinding(binding.real)


def pretend(monkeypatch) -> list[Session]:
    """Put the double in the library's place until the test ends; the sessions that are made."""

    _call("cuInit", 0)
    numpy = ort.OrtValue.numpy
    monkeypatch.setattr(ort.OrtValue, "numpy", lambda value: numpy(value).copy())  # as from a GPU
    made: list[Session] = []
    real = ort.InferenceSession

    def session(path, asked, providers):
        if providers == ["CPUExecutionProvider"]:
            return real(path, asked, providers=providers)
        made.append(Session(real, path, asked, providers))
        return made[-1]

    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(
        ort.OrtValue,
        "ortvalue_from_numpy",
        staticmethod(lambda array, device, number: on_device(array, number)),
    )
    return made
