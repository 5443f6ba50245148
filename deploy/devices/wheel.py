"""The wheel of the runtime, packed from the packages that run here: a checkout or an installation.

The same packages give the same bytes, so that a device keeps an environment for as long as nothing
changes.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import backends
from deploy.devices.errors import DeviceError
from deploy.recipe.shipped import conf_folder

DISTRIBUTION = "backend-chain"

PACKAGES = ("deploy", "backends")
"""What is in the wheel, beside its metadata."""

_TIME = (1980, 1, 1, 0, 0, 0)  # of each file in the archive: the first that it can have
_METADATA = ("METADATA", "entry_points.txt")
_TAG = "py3-none-any"
_WHEEL = f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION}\nRoot-Is-Purelib: true\nTag: {_TAG}\n"


def pack_wheel(folder: Path) -> Path:
    """Write the wheel of this project into a folder, and return its path.

    Raises:
        DeviceError: this project is not installed here, so that its requirements are not known.
    """
    installed = installed_project()
    stem = f"{DISTRIBUTION.replace('-', '_')}-{installed.version}"
    info = f"{stem}.dist-info"
    contents = dict(sorted(_package_files()))
    licences = [f"licenses/{name}" for name in installed.metadata.get_all("License-File") or ()]
    for name in (*_METADATA, *licences):
        contents[f"{info}/{name}"] = installed.read_text(name) or ""
    contents[f"{info}/WHEEL"] = _WHEEL
    path = folder / f"{stem}-{_TAG}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        record = [_add(archive, name, _bytes(content)) for name, content in contents.items()]
        _add(archive, f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]).encode())
    return path


def installed_project() -> Distribution:
    """This project, as it is installed here.

    Raises:
        DeviceError: it is not.
    """
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise DeviceError(
            f"{DISTRIBUTION} is not installed here, so no runtime can be made for a device",
            do="Install it, such as with: pip install -e .",
        ) from error


def _package_files() -> Iterator[tuple[str, str | bytes | Path]]:
    root = Path(str(backends.__file__)).parents[1]
    for package in PACKAGES:
        for path in _files(root / package):
            name = path.relative_to(root)
            if not _is_demo(name):
                yield name.as_posix(), path
    conf = conf_folder()
    for path in _files(conf):
        yield f"deploy/conf/{path.relative_to(conf).as_posix()}", path


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_cache = "__pycache__" in path.parts or path.name.startswith(".")
        if path.is_file() and not is_cache:
            yield path


def _is_demo(name: Path) -> bool:
    """Whether a file belongs to the distribution of the demo."""
    if name.parts[:2] != ("deploy", "models"):
        return False
    return name.parts[3:4] == ("demo",) or name.name == "pyproject.toml"


def _bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> str:
    """Add a file; returns its line of the record."""
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"
