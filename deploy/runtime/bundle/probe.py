"""Files that this machine has not loaded yet are loaded in a process of their own first."""

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

_KIND = "tried"


def probe_first(root: Path, manifest: Manifest) -> None:
    """Load and run a bundle's engines in a child process, unless this machine has done so before.

    Args:
        root: the bundle.
        manifest: its manifest.

    Raises:
        BundleError: a file is not that of the manifest.
        EngineError: that process crashed, or did not come to an end.
    """
    digest = bundle_digest(manifest)
    if has_digest(_KIND, digest):
        return
    built = [one for one in manifest.artifacts if not one.pending]
    verify_files(root, manifest, [name for one in built for name in one.files])
    if not Path(sys.executable).name.lower().startswith("python"):
        warnings.warn("an embedded Python cannot try a bundle in another process", stacklevel=3)
        return
    if ending := probe_load(root, built):
        names = ", ".join(f"'{one.name}' ({one.backend})" for one in built)
        raise EngineError(
            f"bundle '{root}': loading {names} and running it once ends its process: {ending}",
            do="Its files are damaged or made to do that; make the bundle again. "
            "Where only the time was short, Pipeline.open(..., trusted=True) leaves this out.",
        )
    add_digest(_KIND, digest)


def remember_probed(manifest: Manifest) -> None:
    """What has just been loaded and run here need not be tried again."""
    add_digest(_KIND, bundle_digest(manifest))


def bundle_digest(manifest: Manifest) -> str:
    """Of what decides how a bundle's engines run here: steps, files, engines and machine."""
    files = {name: manifest.files[name].sha256 for one in manifest.artifacts for name in one.files}
    engines = {name for one in manifest.artifacts for name in about(one.backend).run}
    parts = {
        "steps": [to_json(one) for one in manifest.artifacts],
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
