"""The kernels that a GPU's machine has compiled for an engine, kept on disk.

A file belongs to one engine on one GPU with one version of the library and of the driver. It is
replaced as a whole, so processes share it without locks, and the last one to write wins. Its first
line says what it belongs to, with a hash of the rest: a damaged file, or one of another engine,
never reaches NVIDIA's reader.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import tensorrt_rtx_bindings as trt

from backends.files import atomic_write
from backends.nvidia.gpu import Gpu
from backends.user_cache import cache_folder


@dataclass(frozen=True)
class KernelFile:
    """Where the kernels of an engine are kept.

    Attributes:
        path: of the file.
        owner: the engine, GPU and versions that the file belongs to.
    """

    path: Path
    owner: str

    def read(self) -> bytes:
        """The kernels; none where there is no such file, or it does not fit (with a warning)."""
        try:
            head, _, kernels = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return b""
        except OSError as error:
            warnings.warn(
                f"runtime_cache '{self.path}' cannot be read: {error.strerror}", stacklevel=2
            )
            return b""
        if head == self._head(kernels):
            return kernels
        self.warn_unusable()
        return b""

    def warn_unusable(self) -> None:
        """Say that the file's kernels do not fit here."""
        warnings.warn(
            f"runtime_cache '{self.path}' is damaged, or of another engine, GPU or version; its "
            "kernels are compiled again",
            stacklevel=2,
        )

    def write(self, kernels: bytes) -> None:
        """Replace the kernels; a file that cannot be written is a warning."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path) as part:
                part.write_bytes(self._head(kernels) + b"\n" + kernels)
        except OSError as error:
            warnings.warn(
                f"runtime_cache '{self.path}' cannot be written: {error.strerror}. "
                "Set XDG_CACHE_HOME to another folder, or pass runtime_cache=off",
                stacklevel=2,
            )

    def _head(self, kernels: bytes) -> bytes:
        digest = hashlib.sha256(kernels).hexdigest()
        return json.dumps({"owner": self.owner, "sha256": digest}).encode()


def kernel_file(option: str, plan: bytes, gpu: Gpu) -> KernelFile | None:
    """The file of an engine's kernels on a GPU.

    Returns:
        None where the option ``runtime_cache`` is ``off``, and where the user has no home for the
        file (with a warning).
    """
    if option == "off":
        return None
    digest = hashlib.sha256(plan).hexdigest()[:16]
    parts = (digest, gpu.name, gpu.capability, f"cuda {gpu.cuda}", f"rtx {trt.__version__}")
    name = re.sub(r"[^\w.]+", "-", " ".join(parts)).lower()
    try:
        return KernelFile(cache_folder() / "kernels" / name, ", ".join(parts))
    except RuntimeError as error:
        warnings.warn(
            f"runtime_cache: {error} Set XDG_CACHE_HOME, or pass runtime_cache=off", stacklevel=2
        )
        return None


class KernelCache:
    """The library's cache of compiled kernels, filled from a file and kept there."""

    def __init__(self, cache: trt.IRuntimeCache, file: KernelFile) -> None:
        self._cache, self._file = cache, file
        stored = file.read()
        if stored and not cache.deserialize(stored):
            file.warn_unusable()
        self._saved = bytes(cache.serialize())

    def save(self) -> None:
        """Write what has been compiled since the file was read or written."""
        kernels = bytes(self._cache.serialize())
        if kernels != self._saved:
            self._file.write(kernels)
            self._saved = kernels
