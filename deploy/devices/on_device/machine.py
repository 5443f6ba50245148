"""What this machine is, and what is installed on it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def machine_facts(folder: Path) -> Mapping[str, Any]:
    """What the desk wants to know before it sends anything.

    Args:
        folder: of the device; it need not be there.
    """
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": _system(),
        "architecture": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "cores": _cores(),
        "memory": _memory(),
        "governor": _governor(),
        "disk": shutil.disk_usage(place).free,
        "writable": _is_writable(place),
        "pip": has_module("pip"),
        "venv": has_module("venv"),
        "ensurepip": has_module("ensurepip"),
        "rsync": shutil.which("rsync") is not None,
        "clock": time.time(),
        "folder": str(folder),
    }


def has_module(name: str) -> bool:
    """Whether this Python has a module."""
    return importlib.util.find_spec(name) is not None


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there; permission bits mislead for root and on some mounts."""
    try:
        with tempfile.TemporaryDirectory(dir=folder):
            return True
    except OSError:
        return False


def _system() -> str:
    name = ""
    with suppress(OSError):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    kernel = f"{platform.system()} {platform.release()}"
    return f"{name}, {kernel}" if name else kernel


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _governor() -> str:
    try:
        return _GOVERNOR.read_text().strip()
    except OSError:
        return ""
