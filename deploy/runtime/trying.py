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
from backends.registry import about
from backends.trial import trial
from deploy.runtime.manifest import Manifest
from deploy.runtime.remembered import remember, remembered

_KIND = "tried"


def try_first(root: Path, manifest: Manifest) -> None:
    """Load and run a bundle's engines in a child process, unless this machine has done so before.

    Args:
        root: the bundle, of which the files are known to be those of the manifest.
        manifest: its manifest.

    Raises:
        EngineError: that process crashed, or did not come to an end.
    """
    digest = digest_of(manifest)
    if remembered(_KIND, digest):
        return
    if not Path(sys.executable).name.lower().startswith("python"):
        warnings.warn("an embedded Python cannot try a bundle in another process", stacklevel=3)
        return
    if ending := trial(root, manifest.steps):
        names = ", ".join(f"'{step.name}' ({step.backend})" for step in manifest.steps)
        raise EngineError(
            f"bundle '{root}': loading {names} and running it once ends its process: {ending}",
            do="Its files are damaged or made to do that; make the bundle again. "
            "Where only the time was short, Pipeline.open(..., trusted=True) leaves this out.",
        )
    remember(_KIND, digest)


def remember_tried(manifest: Manifest) -> None:
    """What has just been loaded and run here need not be tried again."""
    remember(_KIND, digest_of(manifest))


def digest_of(manifest: Manifest) -> str:
    """Of what decides how a bundle's engines run here: steps, files, engines and machine."""
    files = {name: manifest.files[name].sha256 for step in manifest.steps for name in step.files}
    engines = {name for step in manifest.steps for name in about(step.backend).run}
    parts = {
        "steps": [to_json(step) for step in manifest.steps],
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
