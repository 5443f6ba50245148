"""What ``tune`` found for a bundle on this machine, kept for this user beside the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from backends.contract import DeployError
from backends.files import cache_folder, written_aside
from deploy.runtime.manifest import Manifest
from deploy.runtime.trying import digest_of

Threads = Mapping[str, int]
"""Threads by the name of a step; 0 is the engine's own choice."""


def read_tuned(manifest: Manifest) -> Threads:
    """The threads of each step that was tuned; nothing where none was, or the file is damaged."""
    with suppress(OSError, RuntimeError, ValueError):
        found = json.loads(_place(manifest).read_text())
        names, cores = {step.name for step in manifest.steps}, os.cpu_count() or 1
        if isinstance(found, dict) and all(
            name in names and type(count) is int and 0 <= count <= cores
            for name, count in found.items()
        ):
            return found
    return {}


def write_tuned(manifest: Manifest, threads: Threads) -> Path:
    """Keep them in the place of earlier ones.

    Raises:
        DeployError: the user's cache folder cannot be written.
    """
    try:
        place = _place(manifest)
        place.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(place) as part:
            part.write_text(json.dumps(dict(threads)))
    except (OSError, RuntimeError) as error:
        raise DeployError(
            f"what was found cannot be kept: {error}", do="Set XDG_CACHE_HOME to a folder."
        ) from error
    return place


def forget_tuned(manifest: Manifest) -> None:
    """As if the bundle had not been tuned."""
    with suppress(OSError, RuntimeError):
        _place(manifest).unlink()


def _place(manifest: Manifest) -> Path:
    return cache_folder() / "tuned" / f"{digest_of(manifest)}.json"
