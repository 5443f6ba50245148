"""What was tried on a GPU: as JSON and as a table."""

from __future__ import annotations

import ctypes
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

_TOOLS = ("backend-chain", "torch", "onnx", "numpy")


@dataclass(frozen=True)
class Check:
    """One thing that was tried: what came of it, in one line, and how many seconds it took."""

    name: str
    status: Literal["passed", "failed", "not run"]
    result: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Environment:
    """Where it was tried."""

    gpus: tuple[str, ...]
    cuda: str
    date: str
    machine: str
    tools: Mapping[str, str]


def environment(distributions: Sequence[str]) -> Environment:
    """This machine, and the versions of these distributions."""
    gpus, cuda = _gpus()
    return Environment(
        gpus=gpus,
        cuda=cuda,
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        tools={name: _version(name) for name in (*_TOOLS, *distributions)},
    )


def write_report(out: Path, where: Environment, checks: Sequence[Check]) -> None:
    """Write ``gpu.json`` and ``gpu.md`` into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    data = {**asdict(where), "checks": [asdict(check) for check in checks]}
    (out / "gpu.json").write_text(json.dumps(data, indent=2) + "\n")
    (out / "gpu.md").write_text(as_markdown(where, checks))


def as_markdown(where: Environment, checks: Sequence[Check]) -> str:
    """A page with the machine and a table of the checks."""
    tools = ", ".join(f"{name} {number}" for name, number in where.tools.items())
    lines = [
        f"# On a GPU: {', '.join(where.gpus) or 'none found'}",
        "",
        f"{where.date}, {where.machine}, driver for CUDA {where.cuda or 'none'}; {tools}.",
        "",
        "    python -m deploy.doctor --gpu",
        "",
        "| check | status | result | seconds |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {one.name} | {one.status} | {_cell(one.result)} | {one.seconds:.1f} |" for one in checks
    ]
    return "\n".join([*lines, *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"


def _gpus() -> tuple[tuple[str, ...], str]:
    """The names of the GPUs, and the CUDA version that the driver is for."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (), ""
    count, number = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return (), ""
    driver.cuDriverGetVersion(ctypes.byref(number))
    cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return tuple(_name(driver, device) for device in range(count.value)), cuda


def _name(driver: ctypes.CDLL, device: int) -> str:
    text = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(text, len(text), device)
    return text.value.decode()
