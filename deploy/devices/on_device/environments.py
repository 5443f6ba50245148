"""Virtual environments with the runtime, which are finished or not there."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.devices.on_device.children import Children, Ended
from deploy.devices.on_device.faults import FaultError, disk_faults
from deploy.devices.on_device.machine import has_module
from deploy.devices.on_device.notes import read_note, write_note

_STAMP = "installed.json"
_KEPT = 3  # beside the one in use
_TOLD = ("Downloading ", "Building wheel")  # of what pip prints
_SETTINGS = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
_NO_SPACE = "Could not install packages due to an OSError"


class Environments:
    """The environments of a device.

    Args:
        folder: of the device.
        children: starts programs.
    """

    def __init__(self, folder: Path, children: Children) -> None:
        self._folder, self._children = folder, children

    def names(self) -> list[str]:
        """The finished ones, the one that was used last first."""
        folder = self._folder / "environments"
        stamps = list(folder.glob(f"*/{_STAMP}")) if folder.is_dir() else []
        newest = sorted(stamps, key=lambda path: -path.stat().st_mtime)
        return [stamp.parent.name for stamp in newest]

    def extras(self) -> list[str]:
        """What each is for: the extras of the runtime, of the one that was used last first."""
        stamps = [read_note(self._path(name) / _STAMP) for name in self.names()]
        return [", ".join(stamp.get("extras", ())) or "no engine" for stamp in stamps]

    def installed(self, key: str) -> Mapping[str, Any]:
        """Whether an environment is there; one that was not finished is removed."""
        environment = self._path(key)
        if (environment / _STAMP).is_file():
            os.utime(environment / _STAMP)
            return {"installed": True}
        shutil.rmtree(environment, ignore_errors=True)
        return {"installed": False}

    def install(
        self, key: str, wheels: str, wheel: str, extras: Sequence[str], index: bool
    ) -> Mapping[str, Any]:
        """Make an environment and install the runtime there.

        Args:
            key: the name of the environment.
            wheels: the name of the tree with wheels.
            wheel: the file of the runtime there.
            extras: of it.
            index: whether pip may ask its index; else all that it needs is in the tree.

        Raises:
            FaultError: with the reason; nothing is left.
        """
        environment, folder = self._path(key), self._folder / "wheels" / wheels
        source = f"{folder / wheel}[{','.join(extras)}]" if extras else str(folder / wheel)
        where = [] if index else ["--no-index", "--find-links", str(folder)]
        try:
            pip = self._new(environment)
            self._pip([*pip, "install", "--retries", "2", *where, source], index)
            with disk_faults(self._folder):
                write_note(environment / _STAMP, {"extras": list(extras)})
        except BaseException:
            shutil.rmtree(environment, ignore_errors=True)
            raise
        return {}

    def prune(self, used: Sequence[str]) -> None:
        """Remove all but the newest few."""
        others = [name for name in self.names() if name not in used]
        for name in others[_KEPT:]:
            shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, key: str) -> Path:
        if not re.fullmatch(r"\w+", key):
            raise FaultError(f"no environment can be called {key}")
        return self._folder / "environments" / key

    def _new(self, folder: Path) -> list[str]:
        """A new environment; returns the command of a pip that installs there."""
        python = str(folder / "bin" / "python")
        make = [sys.executable, "-m", "venv", str(folder)]
        if has_module("pip"):  # which is faster than a pip of its own
            self._venv([*make, "--without-pip"])
            return [sys.executable, "-m", "pip", "--python", python]
        self._venv(make)
        return [python, "-m", "pip"]

    def _venv(self, words: Sequence[str]) -> None:
        ended, errors = self._run(words, {}, ())
        if ended.code != 0:
            raise FaultError(
                "the Python of the device cannot make a virtual environment",
                got=_last([*errors, *ended.lines]) or f"exit code {ended.code}",
                do="Install the module venv there, such as by: sudo apt install python3-venv",
            )

    def _pip(self, words: Sequence[str], index: bool) -> None:
        ended, errors = self._run(words, _SETTINGS, _TOLD)
        if ended.code == 0:
            return
        lines = [line for line in (*errors, *ended.lines) if "ERROR" in line or "error:" in line]
        lines = [line for line in lines if not line.endswith("Exception:")]  # of a traceback
        shown = next((line for line in lines if _NO_SPACE in line), "")
        shown = shown or _last(lines) or _last(errors) or f"exit code {ended.code}"
        advice = (
            "Without a network there, give a folder with wheels: device.wheels=FOLDER"
            if index
            else "Put what is missing into the folder that device.wheels names."
        )
        raise FaultError(
            "the runtime cannot be installed on the device",
            got=shown.removeprefix("ERROR: "),
            do=advice,
        )

    def _run(
        self, words: Sequence[str], environment: Mapping[str, str], told: tuple[str, ...]
    ) -> tuple[Ended, list[str]]:
        """Run a program; returns its end, and what it has printed on standard error."""
        errors: list[str] = []

        def hear(line: str) -> bool:
            errors.append(line)
            return line.strip().startswith(told)

        return self._children.run(words, str(self._folder), environment, hear), errors


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
