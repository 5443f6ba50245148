"""Hashes of files here, computed once for as long as a file does not change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backends.file_state import are_settled, file_state
from backends.files import atomic_write
from backends.user_cache import cache_folder
from deploy.runtime.bundle.integrity import hash_file
from deploy.runtime.bundle.manifest import Content

_MOST = 500_000  # files that are remembered


def hash_files(sources: Mapping[str, Path]) -> Mapping[str, Content]:
    """The hash and size of each file.

    A file whose state is the same has the hash that the user's cache knows.

    Args:
        sources: the files by any names.

    Raises:
        OSError: one is not readable.
    """
    known = _remembered()
    found, entries = {}, {}
    for name, path in sources.items():
        state = file_state(path)
        settled = are_settled([state])  # before the file is read
        entry = known.get(str(path))
        if isinstance(entry, list) and entry[1:] == [*state]:
            found[name] = Content(str(entry[0]), state.size)
        else:
            found[name] = hash_file(path)
        if settled:
            entries[str(path)] = [found[name].sha256, *state]
    if any(known.get(path) != entry for path, entry in entries.items()):
        _remember({**known, **entries})
    return found


def _remembered() -> dict[str, Any]:
    try:
        known = json.loads(_memo().read_bytes())
    except (OSError, ValueError, RuntimeError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(entries: Mapping[str, Any]) -> None:
    newest = dict(list(entries.items())[-_MOST:])
    with suppress(OSError, RuntimeError):  # they are computed again
        _memo().parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(_memo()) as part:
            part.write_text(json.dumps(newest))


def _memo() -> Path:
    return cache_folder() / "hashes.json"
