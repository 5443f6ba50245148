"""The runtime for a device: the wheels that it is installed from, and its environment's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.registry import about
from deploy.devices.carried_wheels import carried_wheels
from deploy.devices.errors import DeviceError
from deploy.devices.facts import DeviceFacts
from deploy.devices.trees import Tree, files_tree
from deploy.devices.wheel import installed_project, pack_wheel
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.bundle.manifest import Manifest

_EVALUATION = "eval"  # the extra that reads COCO files


@dataclass(frozen=True)
class Runtime:
    """What is installed on a device.

    Attributes:
        key: the name of the environment there: of the wheels, the extras and the device's Python.
        wheel: the name of this project's own wheel.
        extras: of it.
        tree: the wheels.
        index: whether the device may ask an index for all others.
    """

    key: str
    wheel: str
    extras: tuple[str, ...]
    tree: Tree
    index: bool


def needed_runtime(
    device: DeviceRecipe, facts: DeviceFacts, manifest: Manifest, evaluates: bool, folder: Path
) -> Runtime:
    """What a device needs for a bundle.

    Args:
        device: the recipe of it.
        facts: what was found there.
        manifest: of the bundle.
        evaluates: whether scores on a data set are computed.
        folder: for the wheel, here; of this run alone.

    Raises:
        DeviceError: an engine is of another project, or there are no wheels.
    """
    extras = _extras(device, manifest, evaluates)
    own = pack_wheel(folder)
    carried: list[Path] = []
    if device.wheels is not None:
        carried = carried_wheels(Path(device.wheels), facts, own, extras)
    tree = files_tree("wheels", "wheels", [own, *carried])
    described = [tree.digest, extras, facts.python, facts.executable, facts.architecture]
    key = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    return Runtime(key, own.name, extras, tree, index=device.wheels is None)


def _extras(device: DeviceRecipe, manifest: Manifest, evaluates: bool) -> tuple[str, ...]:
    engines = [about(step.backend) for step in manifest.artifacts]
    wanted = {engine.device_extra or engine.extra for engine in engines} | set(device.extras)
    if evaluates:
        wanted.add(_EVALUATION)
    known = set(installed_project().metadata.get_all("Provides-Extra") or ())
    if unknown := sorted(wanted - known):
        raise DeviceError(
            f"device '{device.name}': the extra '{unknown[0]}'",
            expected=f"one of {', '.join(sorted(known))}",
        )
    return tuple(sorted(wanted))


def shown(extras: Sequence[str]) -> str:
    """Extras for people."""
    return f" with {', '.join(extras)}" if extras else ""
