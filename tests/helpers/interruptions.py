"""An interruption, as Ctrl-C is one, at a chosen place."""

from __future__ import annotations

import pytest


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, *, when: str) -> None:
    """Let the first call of a function end in an interruption, before or after it has acted."""
    act, calls = getattr(owner, name), []

    def interrupted(*words: object, **named: object) -> object:
        calls.append(words)
        if len(calls) == 1 and when == "before":
            raise KeyboardInterrupt
        result = act(*words, **named)
        if len(calls) == 1 and when == "after":
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, interrupted)
