"""A CUDA driver that computes on the host, for tests on machines without a GPU; see README.md."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from tests.simulator.build import build

_SITE = Path(__file__).parent / "site"  # doubles of packages
_KINDS = ("memory", "bytes", "host", "stream", "event", "graph", "context", "stack")


def library() -> Path:
    """The driver's file, which is compiled when that is needed."""
    return build(Path(sys.prefix, "simulator"))


def activate() -> None:
    """From now on CUDA is the simulated one, here and in every process that is started.

    Raises:
        RuntimeError: another driver is loaded already, or this one cannot be compiled.
    """
    path = library()
    # whoever wants libcuda.so.1 later gets what is loaded under this name
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    if not hasattr(ctypes.CDLL("libcuda.so.1"), "sim_live"):
        raise RuntimeError("another libcuda.so.1 is loaded in this process already")
    _prepend("LD_LIBRARY_PATH", str(path.parent))
    _prepend("PYTHONPATH", str(_SITE))
    if str(_SITE) not in sys.path:
        sys.path.insert(0, str(_SITE))


def _prepend(variable: str, folder: str) -> None:
    others = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    if folder not in others:
        os.environ[variable] = os.pathsep.join([folder, *others])


class Driver:
    """The controls of the simulated driver in this process, which ``activate`` has loaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.sim_live.restype = ctypes.c_long
        self._library.sim_count.restype = ctypes.c_long
        self._library.sim_fail.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
        self._library.sim_inside.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def live(self, kind: str) -> int:
        """How many there are now.

        ``memory`` allocations and ``bytes`` on all devices, page-locked ``host`` memory,
        ``stream``, ``event``, ``graph`` (executable ones too), ``context`` (how often one was
        retained or created and not given back), ``stack`` (contexts on this thread's stack).
        """
        number: int = self._library.sim_live(kind.encode())
        if number < 0:
            raise ValueError(f"kind: expected one of {', '.join(_KINDS)}, got {kind}")
        return number

    def all_live(self) -> dict[str, int]:
        """What there is now, without the kinds of which there is nothing."""
        numbers = {kind: self.live(kind) for kind in _KINDS}
        return {kind: number for kind, number in numbers.items() if number}

    def count(self, what: str) -> int:
        """How often a function was called (``cuMemAlloc``), or something happened.

        Done by then: ``HtoD``, ``DtoH``, ``DtoD``, ``fill``, ``host`` (functions). At the call:
        ``pageable`` (asynchronous copies from or to memory that is not page-locked). ``lost``:
        what was not freed when its context went. ``cubin sm_86``, ``ptx sm_89``, ``module``: what
        was to be loaded, by what it was compiled for.
        """
        number: int = self._library.sim_count(what.encode())
        return number

    def fail(self, what: str, code: int, nth: int = 1, times: int = 1) -> None:
        """The ``nth`` of these, from now on, fails with a CUDA error: 1 is the next one.

        Everything that is counted can fail; ``HtoD`` and ``host`` as the device does, later.
        pycuda's ``mem_alloc`` tries a second time when memory is out: ``times=2``.
        """
        for number in range(nth, nth + times):
            self._library.sim_fail(what.encode(), number, code)

    def forget_failures(self) -> None:
        """Those that have not happened yet will not."""
        self._library.sim_fail(b"", 0, 0)

    def inside(self, pointer: int, size: int) -> bool:
        """Whether a kernel may touch these bytes: they lie inside one live allocation."""
        return bool(self._library.sim_inside(pointer, size))
