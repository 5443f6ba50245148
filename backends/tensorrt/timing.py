"""The builder's measurements, kept on disk so that the next build need not repeat them."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorrt as trt

from backends.contract import ConversionError
from backends.tensorrt.gpu import Gpu


def timing_file(option: str, gpu: Gpu) -> Path | None:
    """The file that the option ``timing_cache`` names, or nothing for ``off``."""
    if option == "off":
        return None
    if option != "auto":
        return Path(option).expanduser()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    device = re.sub(r"\W+", "-", f"{gpu.name} {gpu.capability}").lower()
    return base / "backend-chain" / f"tensorrt-{trt.__version__}-{device}.timing"


def load_timings(config: trt.IBuilderConfig, path: Path | None) -> None:
    """Give the builder what the file holds; a file that does not fit counts as empty."""
    stored = path.read_bytes() if path is not None and path.is_file() else b""
    for data in (stored, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return


def save_timings(config: trt.IBuilderConfig, path: Path | None) -> None:
    """Add what was measured to the file, beside what other processes added meanwhile.

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
                others = config.create_timing_cache(path.read_bytes())
                if others is not None:
                    measured.combine(others, ignore_mismatch=False)
            _replace(path, bytes(measured.serialize()))
    except OSError as error:
        raise ConversionError(
            f"timing_cache '{path}' cannot be written: {error.strerror}",
            do="Pass another file, or timing_cache=off.",
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, also by a crash
        yield


def _replace(path: Path, data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = Path(scratch) / path.name
        part.write_bytes(data)
        part.replace(path)
