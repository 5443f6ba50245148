"""The names of classes that exporters write into the metadata of an ONNX file."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

from deploy.recipe.class_names import names_of

_MOST_CHARACTERS = 1 << 20  # of a value that is read
_MOST_NAMES = 100_000  # as in a manifest
_LONGEST = 1_000  # of a name, likewise


def class_names(metadata: Iterable[onnx.StringStringEntryProto]) -> list[str]:
    r"""The names; none where the file has none that can be read.

    Ultralytics writes ``names``, a mapping from label to name in Python's notation; RapidOCR and
    others write ``character``, one character in each line.

    Examples:
        >>> from onnx import StringStringEntryProto
        >>> class_names([StringStringEntryProto(key="names", value="{0: 'ant', 1: 'bee'}")])
        ['ant', 'bee']
        >>> class_names([StringStringEntryProto(key="character", value="a\nb")])
        ['a', 'b']
    """
    values = {entry.key: entry.value for entry in metadata if len(entry.value) <= _MOST_CHARACTERS}
    names = _mapped(values.get("names", "")) or names_of(values.get("character", ""))
    usable = len(names) <= _MOST_NAMES and all(
        len(name) <= _LONGEST and "\n" not in name for name in names
    )
    return names if usable else []


def _mapped(text: str) -> list[str]:
    """The names of labels from 0 on."""
    try:
        labels = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    if not isinstance(labels, dict) or list(labels) != list(range(len(labels))):
        return []
    names = list(labels.values())
    return names if all(isinstance(name, str) for name in names) else []
