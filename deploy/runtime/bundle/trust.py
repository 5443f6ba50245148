"""What this machine knows of a bundle: whether this user made it, or it has been tried here."""

from __future__ import annotations

import hashlib
import json
import platform
import sys

from backends.codec import from_json, to_json
from backends.registry import about
from backends.user_cache import add_digest, has_digest
from deploy.runtime.bundle.manifest import MANIFEST, Manifest

_OWN, _TRIED = "own", "tried"  # folders in the user's cache


def remember_own(manifest: Manifest) -> None:
    """Record that this user has made a bundle on this machine."""
    as_read = from_json(Manifest, to_json(manifest), MANIFEST)  # 1 becomes 1.0 in a float's place
    add_digest(_OWN, _manifest_digest(as_read))


def is_own(manifest: Manifest) -> bool:
    """Whether this user has made a bundle on this machine; one changed value makes it another.

    What devices have measured of it does not count.
    """
    return has_digest(_OWN, _manifest_digest(manifest))


def remember_tried(manifest: Manifest) -> None:
    """Record that a bundle has been loaded and run here, so that no trial is needed."""
    add_digest(_TRIED, bundle_digest(manifest))


def is_tried(manifest: Manifest) -> bool:
    """Whether a bundle has been loaded and run here, on these libraries."""
    return has_digest(_TRIED, bundle_digest(manifest))


def bundle_digest(manifest: Manifest) -> str:
    """SHA-256 of what decides how a bundle runs here: steps, files, libraries and machine."""
    artifacts = manifest.artifacts
    engines = {name for step in artifacts for name in about(step.backend).run}
    described = to_json(manifest)
    parts = {
        **{part: described[part] for part in ("inputs", "outputs", "host", "post")},
        "steps": [to_json(step) for step in artifacts],
        "files": _engine_files(manifest),
        "engines": {name: _version(name) for name in sorted(engines)},
        "machine": [platform.machine(), platform.system(), sys.version],
    }
    return _digest(parts)


def files_digest(manifest: Manifest) -> str:
    """The first 16 characters of the SHA-256 of the engines' files, on any machine."""
    return _digest(_engine_files(manifest))[:16]


def _engine_files(manifest: Manifest) -> dict[str, str]:
    artifacts = manifest.artifacts
    return {name: manifest.files[name].sha256 for step in artifacts for name in step.files}


def _manifest_digest(manifest: Manifest) -> str:
    described = to_json(manifest)
    del described["devices"]
    return _digest(described)


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # most bundles need it never

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
