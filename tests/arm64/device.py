"""The emulated device: its programs, and this project installed there as on any other device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "arm64"
DESK_LIBRARIES = ("torch", "onnx", "onnx_ir", "hydra")
_TRUST = """
import sys
from pathlib import Path
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.trust import remember_own
remember_own(read_manifest(Path(sys.argv[1])))
"""
Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Device:
    """A virtual environment of the emulated device, and what its user keeps there.

    Attributes:
        python: the interpreter of the environment.
        home: the user's folder, which has no cache of this machine: every bundle is a stranger's.
    """

    python: Path
    home: Path

    def run(self, *words: object, cwd: Path | None = None, **environment: str) -> Completed:
        """A Python command there: ``-m``, a module and its arguments."""
        command = [str(self.python), *map(str, words)]
        own = {"PATH": os.environ["PATH"], "HOME": str(self.home), **environment}
        return _run(command, cwd or self.home, own)

    def output_of(self, *words: object, cwd: Path | None = None, **environment: str) -> str:
        """What it prints.

        Raises:
            RuntimeError: it failed; the text has what it said.
        """
        return _checked(self.run(*words, cwd=cwd, **environment))

    def install(self, *requirements: object, wheels: Sequence[Path]) -> None:
        """Install by the device's own pip, from folders of wheels alone."""
        links = [word for folder in wheels for word in ("--find-links", folder)]
        self.output_of("-m", "pip", "install", "--no-index", *links, *requirements)

    def bring(self, bundle: Path) -> Path:
        """Copy a bundle there, where it is a stranger's."""
        return Path(shutil.copytree(bundle, self.home / "bundles" / bundle.name))

    def trust(self, bundle: Path) -> None:
        """Let a bundle count as made there: no limit of time is set, as an emulator is slow."""
        self.output_of("-c", _TRUST, bundle)


def make_device(folder: Path, work: Path, extras: str) -> Device:
    """Set the device up, and install this project's wheel with these extras in a new environment.

    Args:
        folder: of ``scripts/setup-arm64``, which does nothing where it is up to date.
        work: a new folder, for the wheel, the environment and the user's files.
        extras: such as ``ncnn,onnxruntime``.

    Raises:
        RuntimeError: the device cannot be set up here, or the wheel not be installed there; or it
            has a library of the desk.
    """
    _checked(_run([str(ROOT / "scripts" / "setup-arm64"), str(folder)], ROOT, dict(os.environ)))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work / "dist"]
    _checked(_run([*map(str, build), str(ROOT)], ROOT, dict(os.environ)))
    (work / "home").mkdir(parents=True)
    device = Device(folder.resolve() / "debian" / "usr" / "bin" / "python3", work / "home")
    device.output_of("-m", "venv", work / "venv")
    device = Device(work / "venv" / "bin" / "python", device.home)
    wheels = [folder.resolve() / "wheels", work / "dist"]
    device.install(f"backend-chain[{extras}]", wheels=wheels)
    for library in DESK_LIBRARIES:
        if device.run("-c", f"import {library}").returncode == 0:
            raise RuntimeError(f"the device has {library}, which is the desk's alone")
    return device


def desk(*words: object, cwd: Path) -> str:
    """What a Python command prints on this machine.

    Raises:
        RuntimeError: it failed; the text has what it said.
    """
    command = [sys.executable, *map(str, words)]
    return _checked(_run(command, cwd, {**os.environ, "PYTHONPATH": str(ROOT)}))


def _run(command: Sequence[str], cwd: Path, environment: dict[str, str]) -> Completed:
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def _checked(ended: Completed) -> str:
    if ended.returncode:
        command = " ".join(map(str, ended.args))
        raise RuntimeError(f"{command}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return ended.stdout
