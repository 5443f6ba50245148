"""The values in words of the command line, as they are written: nested lists, mappings, scalars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_CLOSING = {"[": "]", "{": "}", "(": ")"}
_QUOTES = "'\""


class UnbalancedError(ValueError):
    """A bracket or a quote that is not closed, or one too many."""


@dataclass(frozen=True)
class Scalar:
    """A scalar of a value, or the key of a mapping.

    Attributes:
        text: as it is written, with quotes if it has some.
        start: where it begins in the value.
        path: the keys above it; ``*`` for an element of a list.
        is_key: whether it is a key itself.
    """

    text: str
    start: int
    path: tuple[str, ...]
    is_key: bool = False

    @property
    def quoted(self) -> bool:
        """Whether it stands in quotes."""
        return self.text[:1] in _QUOTES


def scalars(value: str) -> list[Scalar]:
    """Every scalar of a value in its order; commas outside of brackets separate values of a sweep.

    Brackets inside a scalar belong to it where they are balanced, as in ``[layer[0], head(1)]``.

    Raises:
        UnbalancedError: brackets or quotes do not match.

    Examples:
        >>> [scalar.text for scalar in scalars("[a, {b: 'c, d'}]")]
        ['a', 'b', "'c, d'"]
    """
    reader = _Reader(value)
    reader.items("", ())
    return reader.found


def unclosed(value: str) -> bool:
    """Whether brackets of a value are open at its end, as of a word that a shell has split."""
    depth, quote, position = 0, "", 0
    while position < len(value):
        character = value[position]
        if character == "\\":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
        position += 1
    return depth > 0


def joined(words: Sequence[str]) -> list[str]:
    """The words, with those joined again that a shell has split at spaces inside of brackets.

    Examples:
        >>> joined(["model.inputs={x:", "{shape:", "[1,", "4]}}", "bench.runs=0"])
        ['model.inputs={x: {shape: [1, 4]}}', 'bench.runs=0']
    """
    result: list[str] = []
    for number, word in enumerate(words):
        before = result[-1] if result else ""
        is_rest = "=" in before and unclosed(before.partition("=")[2])
        rest = " ".join([before, *words[number:]])
        if is_rest and not unclosed(rest.partition("=")[2]):
            result[-1] = f"{before} {word}"
        else:
            result.append(word)
    return result


class _Reader:
    def __init__(self, value: str) -> None:
        self._value, self._at = value, 0
        self.found: list[Scalar] = []

    def items(self, end: str, path: tuple[str, ...]) -> None:
        """Read values that commas separate, up to the bracket ``end`` or the end of the text."""
        inner = (*path, "*") if end == "]" else path
        while True:
            self._skip_spaces()
            if end and self._next() == end:
                break
            self._item(end, inner)
            self._skip_spaces()
            if self._next() != ",":
                break
            self._at += 1
        if self._next() != end:
            raise UnbalancedError(self._value)
        self._at += len(end)

    def _item(self, end: str, path: tuple[str, ...]) -> None:
        if end == "}":
            path = (*path, self._key(path))
        self._skip_spaces()
        opening = self._next()
        if opening in ("[", "{"):
            self._at += 1
            self.items(_CLOSING[opening], path)
        else:
            self._add(self._scalar(f",{end}"), path)

    def _key(self, path: tuple[str, ...]) -> str:
        """Up to the last colon before a space or a bracket, else up to the first colon."""
        rest = self._value[self._at :]
        stop = min((rest.find(sign) for sign in ",{}[" if sign in rest), default=len(rest))
        head = rest[:stop].rstrip()
        colon = len(head) - 1 if head.endswith(":") else head.find(": ")
        colon = head.find(":") if colon < 0 else colon
        if colon < 0:
            raise UnbalancedError(self._value)
        key = head[:colon].rstrip()
        self._add(key, path, is_key=True)
        self._at += colon + 1 - len(key)
        return key

    def _scalar(self, stops: str) -> str:
        start, at = self._at, self._at
        if self._value[at : at + 1] in _QUOTES and at < len(self._value):
            return self._value[start : self._quote_end(at)]
        waiting: list[str] = []
        while at < len(self._value):
            character = self._value[at]
            if character == "\\":
                at += 1
            elif waiting and character == waiting[-1]:
                waiting.pop()
            elif character in _CLOSING:
                waiting.append(_CLOSING[character])
            elif not waiting and character in stops:
                break
            at += 1
        if waiting:
            raise UnbalancedError(self._value)
        return self._value[start:at].rstrip()

    def _quote_end(self, at: int) -> int:
        quote, at = self._value[at], at + 1
        while at < len(self._value) and self._value[at] != quote:
            at += 2 if self._value[at] == "\\" else 1
        if at >= len(self._value):
            raise UnbalancedError(self._value)
        return at + 1

    def _add(self, text: str, path: tuple[str, ...], is_key: bool = False) -> None:
        self.found.append(Scalar(text, self._at, path, is_key))
        self._at += len(text)

    def _next(self) -> str:
        return self._value[self._at : self._at + 1]

    def _skip_spaces(self) -> None:
        while self._next() in (" ", "\t"):
            self._at += 1
