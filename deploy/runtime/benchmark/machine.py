"""What a machine is: its system, processor, cores, memory and libraries."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from backends.bounds import Between, Name
from backends.registry import about
from deploy.runtime.bundle.manifest import Tools

_PROJECT = ("backend-chain", "numpy")
_CORES = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Machine:
    """The machine.

    Attributes:
        system: the operating system and its version.
        architecture: such as ``aarch64``.
        processor: its name; empty where the system does not tell it.
        cores: that this process may use.
        memory: bytes; 0 where the system does not tell it.
        python: its version.
        tools: versions of this project and of the engines' libraries.
        governor: the frequency governor of the cores; empty where there is none.
    """

    system: Name
    architecture: Name
    processor: Name
    cores: Annotated[int, Between(0, 1 << 20)]
    memory: Annotated[int, Between(0, 1 << 60)]
    python: Name
    tools: Tools = field(default_factory=dict)
    governor: Name = ""


def this_machine(backends: Iterable[str] = ()) -> Machine:
    """This machine.

    Args:
        backends: whose libraries are told with their versions.
    """
    return Machine(
        system=platform.platform(),
        architecture=platform.machine(),
        processor=processor_name(),
        cores=usable_cores(),
        memory=_memory(),
        python=platform.python_version(),
        tools=_versions(backends),
        governor=governor(),
    )


def processor_name(
    cpuinfo: Path = Path("/proc/cpuinfo"),
    board: Path = Path("/sys/firmware/devicetree/base/model"),
) -> str:
    """The processor's model, or that of its board; empty where the system tells neither."""
    with suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with suppress(OSError):
        return board.read_text(errors="replace").strip("\0\n ")
    return platform.processor()


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def governor(cores: Path = _CORES) -> str:
    """The frequency governors of the cores, such as ``powersave``; empty where there is none."""
    return ", ".join(dict.fromkeys(_governors(cores)))


def _governors(cores: Path) -> Iterator[str]:
    for path in sorted(cores.glob("cpu[0-9]*/cpufreq/scaling_governor")):
        with suppress(OSError, ValueError):
            yield path.read_text().strip()


def _memory() -> int:
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _versions(backends: Iterable[str]) -> Mapping[str, str]:
    libraries = (name for backend in backends for name in about(backend).run)
    versions: dict[str, str] = {}
    for name in (*_PROJECT, *libraries):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
