"""What a program prints: names of strangers made visible, and an end where output cannot go on.

Names of classes, tensors, files and tools come from model files and bundles, and errors contain
them. A terminal would obey the control characters in them, and show others in another order. Every
program of this project therefore runs in ``program_output``, and no call has to remember it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import BinaryIO, TextIO, cast

BROKEN_PIPE = 141
"""The exit code where the reader of the output has ended, as of a program that SIGPIPE ends."""

# control, format (directions, zero width) and surrogate characters, separators of lines
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")


def printable(text: str) -> str:
    r"""The text with escapes for characters that act on a terminal or cannot be seen.

    Lines and tabs stay, and so do the letters of every language.

    Examples:
        >>> print(printable("caf\u00e9 \x1b[31mred\u202e"))
        café \x1b[31mred\u202e
    """
    return _SUSPECT.sub(_visible, text)


def printable_name(name: str) -> str:
    r"""A name of a file in one line, so that it cannot print a line of its own.

    Examples:
        >>> print(printable_name("a\nerror: b"))
        a\nerror: b
    """
    return printable(name).replace("\n", "\\n")


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


class _Sink:
    """A standard stream of the process, and what happens where it cannot be written.

    Args:
        target: the stream.
        required: whether the program ends then; else it goes on without the stream.
    """

    def __init__(self, target: TextIO, required: bool) -> None:
        if isinstance(target, io.TextIOWrapper):
            target.reconfigure(errors="backslashreplace")
        self.target = target
        self._required = required
        self._ending: SystemExit | None = None

    def write(self, text: str) -> None:
        with self._watched():
            self.target.write(text)

    def flush(self) -> None:
        with self._watched():
            self.target.flush()

    def finish(self) -> None:
        """Flush for the last time; what the interpreter flushes after that raises nothing."""
        try:
            self.flush()
        finally:
            self._ending = None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        ending, self._ending = self._ending, None
        if ending is not None:  # raised once more: the first may have ended another thread only
            raise ending
        try:
            yield
        except OSError as error:
            self._discard()
            if self._required:
                self._ending = _ending(error)
                raise self._ending from error

    def _discard(self) -> None:
        """Let what is still in buffers go nowhere, or the interpreter would report it too."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.target.fileno())
            os.close(nowhere)


class OutputEndedError(SystemExit):
    """The end of a program whose standard output cannot be written any more."""


def _ending(error: OSError) -> SystemExit:
    """One line on standard error, or no word where the reader of the output has ended."""
    if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
        return OutputEndedError(BROKEN_PIPE)
    return OutputEndedError(f"error: standard output cannot be written: {error.strerror}")


class PrintableStream(io.TextIOBase):
    """A standard stream on which only printable text arrives.

    What its encoding lacks is escaped too. Where it cannot be written, ``SystemExit`` is raised.
    """

    def __init__(self, sink: _Sink, convert: Callable[[str], str] = printable) -> None:
        self._sink = sink
        self._convert = convert

    @property
    def controls(self) -> TextIO:
        """The same stream for who writes control sequences of its own, such as colours.

        Everything else that is written to it must be printable already.
        """
        return cast(TextIO, PrintableStream(self._sink, str))

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        self._sink.write(self._convert(text))
        return len(text)

    def flush(self) -> None:
        """Hand everything over to the system."""
        self._sink.flush()

    def finish(self) -> None:
        """Flush at the end of the program."""
        self._sink.finish()

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._sink.target.isatty()

    def fileno(self) -> int:
        """The number of the file."""
        return self._sink.target.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a variable there
        """The name of the encoding."""
        return self._sink.target.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What happens to characters that the encoding lacks."""
        return self._sink.target.errors

    @property
    def buffer(self) -> BinaryIO:
        """The bytes below the text, for libraries that ask for them."""
        return self._sink.target.buffer


@contextmanager
def program_output() -> Iterator[None]:
    """Run a program whose standard streams are printable, and flush them at its end.

    Raises:
        SystemExit: standard output cannot be written: code 1 with an error, or ``BROKEN_PIPE``.
    """
    _install()
    try:
        yield
    except BaseException as ending:
        succeeded = isinstance(ending, SystemExit) and not ending.code
        with nullcontext() if succeeded else suppress(SystemExit):
            _flush()
        raise
    _flush()


def _install() -> None:
    if sys.stdout is not None and not isinstance(sys.stdout, PrintableStream):
        sys.stdout = PrintableStream(_Sink(sys.stdout, required=True))
    if sys.stderr is not None and not isinstance(sys.stderr, PrintableStream):
        sys.stderr = PrintableStream(_Sink(sys.stderr, required=False))


def _flush() -> None:
    if isinstance(sys.stdout, PrintableStream):  # without standard output, nothing is printed
        sys.stdout.finish()
