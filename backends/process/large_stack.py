"""Calls with a large stack: parsers and builders recurse into a graph as deep as the graph is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_BYTES = 256 << 20  # 8 MiB, a process's usual stack, is too small for a chain of 5,000 operators
T = TypeVar("T")


def call_with_large_stack(function: Callable[[], T]) -> T:
    """Call a function in a thread of its own, whose stack is large.

    A stack that overflows would end the process by SIGSEGV, without a word about the reason.
    """
    before = threading.stack_size(_BYTES)
    try:
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(function).result()
    finally:
        threading.stack_size(before)
