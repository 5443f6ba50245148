"""``doctor``: what is installed, what works here, and what to install."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backends.contract import install_hint
from backends.registry import about, names, package
from deploy.runtime.commands.arguments import positive_integer

_DESK = (
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "hydra-core",
    "rich",
    "safetensors",
    "pycocotools",
)


_DEVICE = ("numpy", "pillow")


@dataclass(frozen=True)
class Ability:
    """Whether one half of a backend works here, and if not, why."""

    works: bool
    reason: str = ""

    def __str__(self) -> str:
        """``yes``, or ``no`` with the reason."""
        return "yes" if self.works else f"no ({self.reason})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.description = (
        "Show what is installed, which backends can convert and run here, and what to install. "
        "With --gpu: run everything that can run on the GPU of this machine."
    )
    parser.epilog = "example: %(prog)s --gpu --out gpu-report"
    parser.add_argument("--gpu", action="store_true", help="run the checks of the GPU")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="for gpu.json and gpu.md (default: this folder)",
    )
    parser.add_argument(
        "--runs",
        type=positive_integer,
        default=100,
        metavar="N",
        help="calls of each engine that is timed (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> bool:
    """Print the report; False where nothing can run here, or a check of the GPU fails."""
    if arguments.gpu:
        from deploy.analysis.gpu_check import gpu_check  # it needs the desk, and a report does not

        return gpu_check(arguments.out, arguments.runs)
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    print("\ndevice (run bundles)")
    _print_versions(_DEVICE)
    print("\ndesk (export, cut, verify)")
    _print_versions(_DESK)
    if _missing(_DESK):
        print(f"  {install_hint('desk')}")
    print("\nbackends")
    can_run = [_print_backend(name) for name in names()]
    return any(can_run)


def installed(distribution: str) -> str | None:
    """The installed version of a distribution, if any."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def ability(backend: str, half: str, needs: Sequence[str]) -> Ability:
    """Import one half of a backend (``convert`` or ``run``) in a fresh process."""
    if missing := _missing(needs):
        return Ability(False, f"lacks {', '.join(missing)}")
    facts = about(backend)
    if reason := facts.conversion_obstacle() if half == "convert" else facts.obstacle():
        return Ability(False, reason)
    module = f"{package(backend)}.{half}"
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return Ability(done.returncode == 0, lines[-1])


def _print_backend(name: str) -> bool:
    facts = about(name)
    convert = ability(name, "convert", facts.convert)
    run = ability(name, "run", facts.run)
    versions = ", ".join(f"{need} {installed(need) or 'missing'}" for need in facts.run)
    print(
        f"  {name}: {facts.summary}\n    {versions}\n    can run: {run}\n    can convert: {convert}"
    )
    for device in facts.devices() if run.works else ():
        print(f"    {device}")
    if not run.works:
        print(f"    to run: {install_hint(facts.device_extra or facts.extra)}")
    if not convert.works:
        print(f"    to convert: {install_hint('desk', facts.extra)}")
    return run.works


def _print_versions(distributions: Sequence[str]) -> None:
    for name in distributions:
        print(f"  {name:<14}{installed(name) or 'missing'}")


def _missing(distributions: Sequence[str]) -> list[str]:
    return [name for name in distributions if installed(name) is None]
