"""Compiles the simulated driver with the system's C compiler, against CUDA's own ``cuda.h``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

SOURCES = Path(__file__).parent / "driver"
_FLAGS = [
    *("-std=c11", "-O1", "-pthread", "-fno-strict-aliasing"),
    *("-shared", "-fPIC", "-fvisibility=hidden"),
]


def build(folder: Path) -> Path:
    """The library, compiled into ``folder`` unless it is there already, made of these sources.

    Raises:
        RuntimeError: no ``cuda.h``, no compiler, or it fails; with what it said.
    """
    include = headers()
    place = folder / _hash(include)
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch, "made")
            made.mkdir()
            _compile(include, made / "libcuda.so.1")
            (made / "libcuda.so").symlink_to("libcuda.so.1")  # the name that linkers look for
            with suppress(OSError):  # another process was faster
                made.rename(place)
    return place / "libcuda.so.1"


def headers() -> Path:
    """The folder of ``cuda.h``."""
    try:
        found = distribution("nvidia-cuda-runtime").locate_file("nvidia/cu13/include")
    except PackageNotFoundError as error:
        raise RuntimeError("cuda.h is missing; run scripts/setup-simulator") from error
    return Path(str(found))


def _hash(include: Path) -> str:
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for file in (include / "cuda.h", *sorted(SOURCES.iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _compile(include: Path, library: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler (cc) was found")
    sources = map(str, sorted(SOURCES.glob("*.c")))
    names = ["-Wl,-soname,libcuda.so.1", f"-I{include}", "-o", str(library)]
    done = subprocess.run(
        [compiler, *_FLAGS, *names, *sources, "-ldl"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the simulated driver does not compile\n{done.stderr}")
