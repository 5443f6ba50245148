"""The console of the desk's commands: tables and progress, in which names are nothing but text."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from backends.terminal import PrintableStream, printable

_PLAIN_WIDTH = 180


class TerminalConsole(Console):
    """A console that styles what this project prints, and escapes control characters in it.

    Brackets and colons in names are no markup.

    Args:
        options: as of rich's ``Console``.
    """

    def __init__(self, **options: Any) -> None:
        stream = sys.stdout
        # rich's own control sequences may pass: everything else in its output is printable
        file = stream.controls if isinstance(stream, PrintableStream) else stream
        super().__init__(file=file, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text to be laid out; rich measures it in its printable form."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The pieces that anything printed consists of."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        """Leave it to the stream, which ends every program in one way."""
        raise


def plain_console() -> TerminalConsole:
    """A console for tables; in a file or a log it is wide enough for them."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return TerminalConsole() if is_terminal else TerminalConsole(width=_PLAIN_WIDTH)
