"""The runtime for a device: the wheels that it is installed from, and its environment's name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.registry import about
from deploy.devices.errors import DeviceError
from deploy.devices.facts import DeviceFacts
from deploy.devices.trees import Tree, files_tree
from deploy.devices.wheel import extras_known, pack_wheel
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.bundle.manifest import Manifest

_EVALUATION = "eval"  # the extra that reads COCO files
_INTERPRETER = re.compile(r"(?:cp|py)(\d)(\d*)")


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
    carried = _carried(device, facts, Path(device.wheels)) if device.wheels else []
    tree = files_tree("wheels", "wheels", [own, *carried])
    described = [tree.digest, extras, facts.python, facts.executable, facts.architecture]
    key = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    return Runtime(key, own.name, extras, tree, index=device.wheels is None)


def _extras(device: DeviceRecipe, manifest: Manifest, evaluates: bool) -> tuple[str, ...]:
    engines = [about(step.backend) for step in manifest.artifacts]
    wanted = {engine.device_extra or engine.extra for engine in engines} | set(device.extras)
    if evaluates:
        wanted.add(_EVALUATION)
    if unknown := sorted(wanted - extras_known()):
        raise DeviceError(
            f"device '{device.name}': the extra '{unknown[0]}'",
            expected=f"one of {', '.join(sorted(extras_known()))}",
        )
    return tuple(sorted(wanted))


def _carried(device: DeviceRecipe, facts: DeviceFacts, folder: Path) -> list[Path]:
    wheels = sorted(path for path in folder.expanduser().glob("*.whl") if path.is_file())
    fitting = [path for path in wheels if fits(path.name, facts.python, facts.architecture)]
    if not fitting:
        raise DeviceError(
            f"device '{device.name}': device.wheels={device.wheels}",
            expected=f"wheels for Python {facts.python} on {facts.architecture}",
            got=f"{len(wheels)} wheels, of which none fits",
            do="Fill it with: pip download --only-binary :all: --platform ...",
        )
    return fitting


def fits(wheel: str, python: str, architecture: str) -> bool:
    """Whether a wheel may be for a device, by the tags of its name.

    Args:
        wheel: the name of its file.
        python: the version there.
        architecture: such as ``aarch64``.

    Examples:
        >>> fits("numpy-2.3.4-cp311-cp311-manylinux_2_28_aarch64.whl", "3.11.2", "aarch64")
        True
        >>> fits("numpy-2.3.4-cp312-cp312-manylinux_2_28_aarch64.whl", "3.11.2", "aarch64")
        False
        >>> fits("attrs-25.4.0-py3-none-any.whl", "3.11.2", "aarch64")
        True
    """
    tags = wheel.removesuffix(".whl").split("-")[-3:]
    if len(tags) < 3:
        return False
    interpreters, abis, platforms = (tag.split(".") for tag in tags)
    has_platform = any(name == "any" or name.endswith(architecture) for name in platforms)
    return has_platform and any(_suits(name, "abi3" in abis, python) for name in interpreters)


def _suits(interpreter: str, stable: bool, python: str) -> bool:
    """Whether a Python takes a wheel for an interpreter, such as ``cp311``."""
    found = _INTERPRETER.fullmatch(interpreter)
    if found is None:
        return False
    major, minor = (int(part) for part in python.split(".")[:2])
    wanted = int(found[2] or 0)
    older_fits = stable or interpreter.startswith("py")
    return int(found[1]) == major and (wanted <= minor if older_fits else wanted == minor)


def shown(extras: Sequence[str]) -> str:
    """Extras for people."""
    return f" with {', '.join(extras)}" if extras else ""
