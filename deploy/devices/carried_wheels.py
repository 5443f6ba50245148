"""Wheels for a device that has no network: of a folder those that fit it and that it needs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deploy.devices.errors import DeviceError
from deploy.devices.facts import DeviceFacts

_METADATA = ".dist-info/METADATA"
_INTERPRETER = re.compile(r"(?:cp|py)(\d)(\d*)")


def carried_wheels(
    folder: Path, facts: DeviceFacts, own: Path, extras: Iterable[str]
) -> list[Path]:
    """The wheels of a folder that a device needs; what is missing there, its ``pip`` will say.

    Args:
        folder: with wheels of any devices.
        facts: of the device.
        own: the wheel of the runtime, which needs them.
        extras: of it.

    Raises:
        DeviceError: none of them fits the device, or one is no wheel.
    """
    fitting = _fitting(folder, facts)
    environment = marker_environment(facts)
    known = {**fitting, _name(own): [own]}
    pending = [(_name(own), frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        name, wanted = entry = pending.pop()
        if entry in seen:
            continue
        seen.add(entry)
        for wheel in known.get(name, ()):
            pending += [
                (canonicalize_name(needed.name), frozenset(needed.extras))
                for needed in _needed(wheel, wanted, environment)
            ]
    names = sorted({name for name, _ in seen})
    return [wheel for name in names if name != _name(own) for wheel in fitting.get(name, ())]


def _fitting(folder: Path, facts: DeviceFacts) -> dict[str, list[Path]]:
    """The wheels of a folder that may be for a device, by the names of their distributions."""
    wheels = [path for path in sorted(folder.expanduser().glob("*.whl")) if path.is_file()]
    fitting: dict[str, list[Path]] = {}
    for path in wheels:
        if fits(path.name, facts.python, facts.architecture):
            fitting.setdefault(_name(path), []).append(path)
    if not fitting:
        raise DeviceError(
            f"device.wheels={folder}",
            expected=f"wheels for Python {facts.python} on {facts.architecture}",
            got=f"{len(wheels)} wheels, of which none fits",
            do="Fill it with: pip download --only-binary :all: --platform ...",
        )
    return fitting


def _name(wheel: Path) -> str:
    """The name of a wheel's distribution."""
    return canonicalize_name(wheel.name.partition("-")[0])


def marker_environment(facts: DeviceFacts) -> Mapping[str, str]:
    """The values of a device for the markers of requirements."""
    system = "Linux" if "Linux" in facts.system else "Darwin"
    return {
        "os_name": "posix",
        "platform_machine": facts.architecture,
        "platform_system": system,
        "python_full_version": facts.python,
        "python_version": ".".join(facts.python.split(".")[:2]),
        "sys_platform": system.lower(),
    }


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


def _needed(
    wheel: Path, extras: Iterable[str], environment: Mapping[str, str]
) -> Iterator[Requirement]:
    """The requirements of a wheel that hold on a device, where extras of it are wanted."""
    for requirement in _requirements(wheel):
        marker = requirement.marker
        values = [{**environment, "extra": extra} for extra in ("", *extras)]
        if marker is None or any(map(marker.evaluate, values)):
            yield requirement


def _requirements(wheel: Path) -> list[Requirement]:
    """What a wheel needs, by its own metadata."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(_METADATA))
            lines = HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
        return [Requirement(str(line)) for line in lines or ()]
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError, InvalidRequirement) as error:
        raise DeviceError(f"'{wheel}' is no wheel", do="Download it again.") from error
