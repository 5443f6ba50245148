"""A probe of engines that this machine has not loaded before: a child process runs them first."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backends.codec import to_json
from backends.contract import EngineError
from backends.process.probe import probe_load
from backends.registry import about
from backends.user_cache import add_digest, has_digest
from deploy.runtime.bundle.integrity import verify_files
from deploy.runtime.bundle.manifest import Manifest

_KIND = "tried"  # of what the user's cache folder remembers


def probe_first(root: Path, manifest: Manifest) -> None:
    """Load and run a bundle's engines in a child process, unless this machine has done so before.

    Args:
        root: the bundle.
        manifest: its manifest.

    Raises:
        BundleError: a file differs from the manifest.
        EngineError: the child process crashed, or exceeded its time.
    """
    digest = bundle_digest(manifest)
    if has_digest(_KIND, digest):
        return
    built = [artifact for artifact in manifest.artifacts if not artifact.pending]
    verify_files(root, manifest, [name for artifact in built for name in artifact.files])
    if not Path(sys.executable).name.lower().startswith("python"):
        warnings.warn("an embedded Python cannot try a bundle in another process", stacklevel=3)
        return
    if ending := probe_load(root, built):
        names = ", ".join(f"'{artifact.name}' ({artifact.backend})" for artifact in built)
        raise EngineError(
            f"bundle '{root}': loading {names} and running it once ends its process: {ending}",
            do="Its files are damaged or made to do that; make the bundle again. "
            "Where only the time was short, Pipeline.open(..., trusted=True) leaves this out.",
        )
    add_digest(_KIND, digest)


def remember_probed(manifest: Manifest) -> None:
    """Record that a bundle's engines have just been loaded and run here, so no probe is needed."""
    add_digest(_KIND, bundle_digest(manifest))


def bundle_digest(manifest: Manifest) -> str:
    """SHA-256 of what decides how engines run here: steps, files, libraries and machine."""
    artifacts = manifest.artifacts
    files = {name: manifest.files[name].sha256 for step in artifacts for name in step.files}
    engines = {name for step in artifacts for name in about(step.backend).run}
    parts = {
        "steps": [to_json(step) for step in artifacts],
        "files": files,
        "engines": {name: _version(name) for name in sorted(engines)},
        "machine": [platform.machine(), platform.system(), sys.version],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
