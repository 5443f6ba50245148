"""Who is inside a chain, so that it is closed behind the last."""

from __future__ import annotations

from threading import Condition

from backends.contract import EngineError


class Gate:
    """Lets calls in until it is shut, which is done when the last of them is out."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._is_shut = False

    def shut(self) -> None:
        """Let nobody in from now on, and wait until nobody is inside."""
        with self._changed:
            self._is_shut = True
            self._changed.wait_for(lambda: self._inside == 0)

    def __enter__(self) -> None:
        with self._changed:
            if self._is_shut:
                raise EngineError("the chain is closed", do="Call it inside its 'with' block.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._is_shut:
                self._changed.notify_all()
