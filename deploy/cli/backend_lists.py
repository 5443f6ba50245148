"""Lists of backends, precisions and devices, expanded to one for each, as plain mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.recipe.schema import ALL, RecipeError

Plain = Mapping[str, Any]
Files = Mapping[str, Sequence[Plain]]
"""The contents of the files of each key, such as ``chain.head``, with several backends.

Of ``device`` also where it is one; it has a name.
"""


def expand_backend_lists(recipe: Plain, files: Files) -> dict[str, Any]:
    """A recipe whose keys have one backend of one precision each; ``also`` has the others.

    Args:
        recipe: the recipe. Under a key with several backends, their files are merged, and the
            user's overrides over them. Each backend gets the overrides of options that it has.
        files: of the keys with several backends.
    """
    chain, also = recipe.get("chain", {}), recipe.get("also", [])
    if not isinstance(chain, Mapping) or not isinstance(also, list):
        return dict(recipe)  # the typed recipe refuses it
    backends = {ALL: _expand(recipe["backend"], files.get("backend", ()))}
    backends |= {
        segment: _expand(backend, files.get(f"chain.{segment}", ()))
        for segment, backend in chain.items()
    }
    alternatives = [
        {"segment": segment, "backend": backend}
        for segment, (_, *rest) in backends.items()
        for backend in rest
    ]
    return {
        **recipe,
        "backend": backends[ALL][0],
        "chain": {segment: backends[segment][0] for segment in chain},
        "also": [*alternatives, *also],
    }


def expand_devices(recipe: Plain, files: Files) -> list[Plain]:
    """The devices of a recipe: each file by itself, with the user's overrides of them.

    Args:
        recipe: the recipe. Under ``device`` their files are merged, and the overrides over them.
        files: as above.
    """
    device = recipe.get("device", {})
    if isinstance(device, list):
        return device  # of a recipe that was composed before
    if not isinstance(device, Mapping):
        raise RecipeError("device", expected="the name of a device", got=repr(device))
    if not device:
        return []
    known = files.get("device", [{}])
    overrides = dict(_difference(device, _merged(known)))
    if len(known) > 1:
        overrides.pop("name", None)  # each keeps its own
    return [_merge(file, overrides) for file in known]


def _expand(backend: Any, files: Sequence[Plain]) -> list[Any]:
    """One backend for each file and each precision."""
    if not isinstance(backend, Mapping):
        return [backend]  # the typed recipe refuses it
    backends = _split(backend, files) if len(files) > 1 else [backend]
    return [variant for single in backends for variant in _expand_precisions(single)]


def _expand_precisions(backend: Plain) -> list[Plain]:
    precisions = backend.get("precision")
    if not isinstance(precisions, list):
        return [backend]
    if not precisions:
        raise RecipeError("precision", expected="at least one", got="[]")
    return [{**backend, "precision": precision} for precision in precisions]


def _split(backend: Plain, files: Sequence[Plain]) -> list[Plain]:
    """Each file by itself, with the overrides that made the merged backend of them."""
    overrides = _difference(backend, _merged(files))
    known = {name for file in files for name in file.get("options", {})}
    return [_merge(file, _overrides_for(file, overrides, known)) for file in files]


def _overrides_for(file: Plain, overrides: Plain, known: set[str]) -> Plain:
    """The overrides without options of other backends; an option that none has stays, to fail."""
    options = overrides.get("options", {})
    if not isinstance(options, Mapping):
        return overrides  # the typed recipe refuses it
    own = {
        name: value
        for name, value in options.items()
        if name in file.get("options", {}) or name not in known
    }
    return {**overrides, "options": own}


def _merged(files: Sequence[Plain]) -> Plain:
    merged: Plain = {}
    for file in files:
        merged = _merge(merged, file)
    return merged


def _merge(base: Plain, overrides: Plain) -> Plain:
    merged = {
        name: _merge(base[name], value)
        if isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
        else value
        for name, value in overrides.items()
    }
    return {**base, **merged}


def _difference(changed: Plain, original: Plain) -> Plain:
    """The items of ``changed`` that ``original`` does not have."""
    triples = ((name, value, original.get(name)) for name, value in changed.items())
    return dict(
        (name, _difference(value, before))
        if isinstance(value, Mapping) and isinstance(before, Mapping)
        else (name, value)
        for name, value, before in triples
        if value != before
    )
