"""``python -m deploy.doctor``: what is installed, what works here, what to install.

With ``--gpu`` it tries on the GPU of this machine whatever can run there.
"""

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
from backends.process.child import module_command
from backends.registry import about, names, package

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report; exit code 1 where nothing can run here, or a check on the GPU fails."""
    asked = _parser().parse_args(arguments)
    if asked.gpu:
        from deploy.analysis.gpu_check import gpu_check  # it needs the desk, and a report does not

        sys.exit(0 if gpu_check(asked.out, asked.runs) else 1)
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    print("\ndevice (run bundles)")
    _print_versions(_DEVICE)
    print("\ndesk (export, cut, verify)")
    _print_versions(_DESK)
    if _missing(_DESK):
        print(f"  to install: {install_hint('desk')}")
    print("\nbackends")
    runs = [_print_backend(name) for name in names()]
    sys.exit(0 if any(runs) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.doctor", description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="try everything that can run on a GPU")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="for gpu.json and gpu.md"
    )
    parser.add_argument("--runs", type=int, default=100, help="of each engine that is timed")
    return parser


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
    if reason := about(backend).obstacle():
        return Ability(False, reason)
    module = f"{package(backend)}.{half}"
    done = subprocess.run(module_command(module), capture_output=True, text=True, check=False)
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
    if not run.works:
        print(f"    to run: {install_hint(facts.extra)}")
    if not convert.works:
        print(f"    to convert: {install_hint('desk', facts.extra)}")
    return run.works


def _print_versions(distributions: Sequence[str]) -> None:
    for name in distributions:
        print(f"  {name:<14}{installed(name) or 'missing'}")


def _missing(distributions: Sequence[str]) -> list[str]:
    return [name for name in distributions if installed(name) is None]


if __name__ == "__main__":
    main()
