"""Host steps that start in NumPy, and go on in machine code once it is loaded.

Importing numba and loading machine code takes five times as long as opening an engine. So it
happens in a thread, and only behind the first pictures: a short run does without.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Generic, ParamSpec, TypeVar

from deploy.runtime.vision.compiling import can_compile, import_compiler, in_environment

P = ParamSpec("P")
R = TypeVar("R")

CALLS_BEFORE = 100  # in NumPy, before loading begins

_FIRST = "DEPLOY_COMPILE_FIRST"  # in the environment, with any text
_log = logging.getLogger(__name__)


@contextmanager
def compiled_first() -> Iterator[None]:
    """In this block, and in processes started in it, host steps are compiled where they are made.

    A measurement is of one code so.
    """
    with in_environment(_FIRST):
        yield


def compiled_later(in_numpy: Callable[P, R], load: Callable[[], Callable[P, R]]) -> Callable[P, R]:
    """A function in NumPy that its machine code replaces behind ``CALLS_BEFORE`` calls.

    Args:
        in_numpy: the function; all there is where nothing can be compiled.
        load: loads, and if need be compiles, the machine code that gives the same results.
    """
    if not can_compile():
        return in_numpy
    return load() if os.environ.get(_FIRST) else CompiledLater(in_numpy, load)


class CompiledLater(Generic[P, R]):
    """See ``compiled_later``; several threads may call it."""

    def __init__(self, in_numpy: Callable[P, R], load: Callable[[], Callable[P, R]]) -> None:
        self._current = in_numpy
        self._load = load
        self._calls = count(1)  # ``next`` of it is one step: no two threads get the same number

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """The function's result."""
        if next(self._calls) == CALLS_BEFORE:
            CodeLoading(self._take_over).start()
        return self._current(*arguments, **named)

    def _take_over(self) -> None:
        self._current = self._load()


class CodeLoading(threading.Thread):
    """Loads machine code; where that fails, NumPy goes on.

    The process waits for it when it ends, for it must not end within numba's code. Therefore no
    step is begun once the main thread has ended.
    """

    def __init__(self, take_over: Callable[[], None]) -> None:
        super().__init__(name="loading of compiled host steps")
        self._take_over = take_over

    def run(self) -> None:
        """Load it."""
        try:
            import_compiler()
            if threading.main_thread().is_alive():
                self._take_over()
        except (ImportError, OSError, RuntimeError) as error:  # such as beside another NumPy
            _log.warning("host steps go on in NumPy: %s: %s", type(error).__name__, error)
