"""Signals that cancel a command: it undoes what it has begun, and ends with a code that says so."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of those that a system has
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_AGAIN = 0.5  # seconds


class _Cancellation:
    """A handler that raises ``KeyboardInterrupt`` at the first signal.

    A second signal ends the process at once, as SIGKILL would. Where a library swallows the
    exception, as a callback of native code does, it is raised again a little later.

    Attributes:
        number: of the signal that came; 0 where none did.
    """

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, _raise_again)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise KeyboardInterrupt

    def end(self) -> None:
        """Raise nothing more."""
        if self.number and sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _raise_again(number: int, frame: FrameType | None) -> None:
    """Raise ``KeyboardInterrupt`` unless the command ends already, as where files are removed."""
    error: BaseException | None = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__context__
    if error is None:
        raise KeyboardInterrupt


@contextmanager
def cancellable() -> Iterator[None]:
    """Handle SIGINT (Ctrl-C), SIGTERM and SIGHUP alike in this block.

    A signal that is ignored, as SIGHUP under ``nohup``, stays ignored.

    Raises:
        SystemExit: with 128 + the number of the signal, after what was begun is undone. Also where
            a library made another error of the interruption.
    """
    cancellation = _Cancellation()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        handled = []  # Python allows handlers there alone
    for number in handled:
        signal.signal(number, cancellation)
    try:
        yield
    except KeyboardInterrupt:
        _exit(cancellation.number or signal.SIGINT)
    except SystemExit as error:
        if cancellation.number and error.code not in (None, 0):
            _exit(cancellation.number)
        raise
    except Exception:
        cancellation.end()
        if cancellation.number:
            _exit(cancellation.number)
        raise
    finally:
        cancellation.end()
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def first_interrupt_ends(enabled: bool) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C in this block be a wish to end, of which nothing is undone.

    The second one is handled as outside.

    Args:
        enabled: whether to do so at all.

    Yields:
        Whether there was one.
    """
    ended = False
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ended
        ended = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end)
    try:
        yield lambda: ended
    finally:
        signal.signal(signal.SIGINT, before)


def _exit(number: int) -> None:
    with suppress(OSError):  # after SIGHUP the terminal is gone
        print("cancelled", file=sys.stderr, flush=True)
    sys.exit(128 + number)
