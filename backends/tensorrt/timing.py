"""The builder's measurements, kept on disk so that the next build need not repeat them."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorrt as trt

from backends.contract import ConversionError
from backends.files import atomic_write
from backends.nvidia.gpu import Gpu
from backends.user_cache import cache_folder


def timing_file(option: str, gpu: Gpu) -> Path | None:
    """The file of a GPU's measurements, or None where the option ``timing_cache`` is ``off``."""
    if option == "off":
        return None
    device = re.sub(r"\W+", "-", f"{gpu.name} {gpu.capability}").lower()
    return cache_folder() / f"tensorrt-{trt.__version__}-{device}.timing"


def load_timings(config: trt.IBuilderConfig, path: Path | None) -> None:
    """Give the builder the measurements of the file; a file that does not fit counts as empty."""
    stored = path.read_bytes() if path is not None and path.is_file() else b""
    for data in (stored, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def save_timings(config: trt.IBuilderConfig, path: Path | None) -> None:
    """Merge the builder's measurements into the file, which other processes may have extended.

    Raises:
        ConversionError: the file cannot be written.
    """
    measured = config.get_timing_cache()
    if path is None or measured is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if path.is_file():
                stored = config.create_timing_cache(path.read_bytes())
                if stored is not None:
                    measured.combine(stored, ignore_mismatch=False)
            with atomic_write(path) as part:
                part.write_bytes(bytes(measured.serialize()))
    except OSError as error:
        raise ConversionError(
            f"timing_cache '{path}' cannot be written: {error.strerror}",
            do="Set XDG_CACHE_HOME to another folder, or pass timing_cache=off.",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
        yield
