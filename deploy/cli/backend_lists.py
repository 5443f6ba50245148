"""Lists of backends and precisions -> one backend for each of them, as plain mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.recipe.schema import ALL, RecipeError

Plain = Mapping[str, Any]


Files = Mapping[str, Sequence[Plain]]
"""Of keys such as ``chain.head`` that several backends were chosen for, what their files say."""


def expand_backend_lists(given: Plain, files: Files) -> dict[str, Any]:
    """A recipe whose keys each have one backend of one precision; the others are in ``also``.

    Args:
        given: the recipe, in which the files of one key were merged, and the user's words over
            them. Each of its backends gets those words, and of the options those that it has.
        files: of the keys with several.
    """
    named, others = given.get("chain", {}), given.get("also", [])
    if not isinstance(named, Mapping) or not isinstance(others, list):
        return dict(given)  # the typed recipe refuses it
    chain = {name: _each(one, files.get(f"chain.{name}", ())) for name, one in named.items()}
    every = _each(given["backend"], files.get("backend", ()))
    several = {ALL: every, **chain}
    further = [
        {"segment": name, "backend": one} for name, found in several.items() for one in found[1:]
    ]
    return {
        **given,
        "backend": every[0],
        "chain": {name: found[0] for name, found in chain.items()},
        "also": [*further, *others],
    }


def _each(asked: Any, files: Sequence[Plain]) -> list[Any]:
    if not isinstance(asked, Mapping):
        return [asked]  # likewise
    several = _split(asked, files) if len(files) > 1 else [asked]
    return [one for backend in several for one in _precisions(backend)]


def _precisions(backend: Plain) -> list[Plain]:
    asked = backend.get("precision")
    if not isinstance(asked, list):
        return [backend]
    if not asked:
        raise RecipeError("precision", expected="at least one", got="[]")
    return [{**backend, "precision": one} for one in asked]


def _split(asked: Plain, files: Sequence[Plain]) -> list[Plain]:
    merged: Plain = {}
    for file in files:
        merged = _over(merged, file)
    words = _changed(asked, merged)
    known = {name for file in files for name in file.get("options", {})}
    return [_over(file, _own(words, file, known)) for file in files]


def _own(words: Plain, file: Plain, known: set[str]) -> Plain:
    """The user's words without options of the other backends; what none has stays, as an error."""
    asked = words.get("options", {})
    if not isinstance(asked, Mapping):
        return words  # likewise
    options = {
        name: value
        for name, value in asked.items()
        if name in file.get("options", {}) or name not in known
    }
    return {**words, "options": options}


def _over(under: Plain, over: Plain) -> Plain:
    both = {
        name: _over(under[name], value)
        if isinstance(value, Mapping) and isinstance(under.get(name), Mapping)
        else value
        for name, value in over.items()
    }
    return {**under, **both}


def _changed(now: Plain, before: Plain) -> Plain:
    """What of ``now`` is not in ``before``."""
    pairs = ((name, value, before.get(name)) for name, value in now.items())
    changed = (
        (name, _changed(value, was))
        if isinstance(value, Mapping) and isinstance(was, Mapping)
        else (name, value)
        for name, value, was in pairs
        if value != was
    )
    return dict(changed)
