"""What ``tune`` found for a bundle on this machine, kept for this user beside the cache."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from backends.codec import from_json
from backends.contract import DeployError
from backends.files import cache_folder, written_aside
from deploy.runtime.choices import Choice, Choices, chosen
from deploy.runtime.manifest import Manifest
from deploy.runtime.trying import digest_of


def read_tuned(manifest: Manifest) -> Choices:
    """How each step that was tuned runs; nothing where none was, or the file is damaged."""
    with suppress(OSError, RuntimeError, ValueError, DeployError):
        choices = choices_from(_place(manifest).read_text())
        cores = os.cpu_count() or 1
        if all(0 <= (choice.threads or 0) <= cores for choice in choices.values()):
            chosen(manifest, choices)  # an error, where they are not of this bundle
            return choices
    return {}


def write_tuned(manifest: Manifest, choices: Choices) -> Path:
    """Keep them in the place of earlier ones.

    Raises:
        DeployError: the user's cache folder cannot be written.
    """
    try:
        place = _place(manifest)
        place.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(place) as part:
            part.write_text(choices_text(choices))
    except (OSError, RuntimeError) as error:
        raise DeployError(
            f"what was found cannot be kept: {error}", do="Set XDG_CACHE_HOME to a folder."
        ) from error
    return place


def forget_tuned(manifest: Manifest) -> None:
    """As if the bundle had not been tuned."""
    with suppress(OSError, RuntimeError):
        _place(manifest).unlink()


def choices_text(choices: Choices) -> str:
    """Choices as JSON."""
    return json.dumps({name: asdict(choice) for name, choice in choices.items()})


def choices_from(text: str) -> Choices:
    """Choices from their JSON.

    Raises:
        ValueError, FormatError: it is none, or of another shape.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("choices are an object")
    return {name: from_json(Choice, one, name) for name, one in found.items()}


def _place(manifest: Manifest) -> Path:
    return cache_folder() / "tuned" / f"{digest_of(manifest)}.json"
