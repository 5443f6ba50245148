"""Answers requests of a desk, until it is gone."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from deploy.devices.on_device.children import Children
from deploy.devices.on_device.desk import Desk
from deploy.devices.on_device.environments import Environments
from deploy.devices.on_device.faults import FaultError, LinkLostError
from deploy.devices.on_device.lock import Lock
from deploy.devices.on_device.machine import machine_facts
from deploy.devices.on_device.trees import KEPT, Trees

_PIECE = 1 << 15  # characters of a text in an answer


class Device:
    """What can be asked for.

    Args:
        folder: of the device.
        desk: who asks.

    Attributes:
        answers: what answers each request, by its name; arguments and answers are JSON.
    """

    def __init__(self, folder: Path, desk: Desk) -> None:
        self._folder, self._desk = folder, desk
        self._lock = Lock(folder / "lock")
        self._children = Children(desk, self._lock)
        self._trees = Trees(folder)
        self._environments = Environments(folder, self._children)
        self.answers: Mapping[str, Callable[..., Mapping[str, Any]]] = {
            "probe": self.probe,
            "lock": self.lock,
            "stale": self._trees.stale,
            "missing": self._trees.missing,
            "assemble": self._trees.assemble,
            "forget": self._trees.forget,
            "installed": self._environments.installed,
            "install": self._environments.install,
            "run": self.run,
            "prune": self.prune,
            "clean": self.clean,
        }

    def probe(self) -> Mapping[str, Any]:
        """What this machine is, and what a desk has put here."""
        return {
            **machine_facts(self._folder),
            "environments": self._environments.extras(),
            "bundles": self._trees.names("bundles"),
            "holder": self._lock.holder(),
        }

    def lock(self, holder: str, seconds: float) -> Mapping[str, Any]:
        """Lock the device for as long as this program runs."""
        self._lock.take(holder, seconds, self._desk)
        return {}

    def run(
        self, words: Sequence[str], cwd: str, environment: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Run a program; its errors are sent as they come, its output at its end."""
        ended = self._children.run(words, cwd, environment, lambda line: True)
        text = ended.output.decode(errors="replace")
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        return {"code": ended.code, "output": pieces}

    def prune(self, used: Sequence[str]) -> Mapping[str, Any]:
        """Remove the oldest trees and environments, but none of ``used``."""
        self._trees.prune(used)
        self._environments.prune(used)
        return {}

    def clean(self) -> Mapping[str, Any]:
        """Remove all that a desk has put here; says how many other files are left."""
        for name in ("objects", "environments", *KEPT):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        left = [path for path in self._folder.iterdir() if path.name != "lock"]
        if not left:
            (self._folder / "lock").unlink(missing_ok=True)
            self._folder.rmdir()
        return {"left": len(left)}


def serve(folder: str) -> NoReturn:
    """Answer requests until the desk is gone.

    Args:
        folder: of the device, such as ``~/backend-chain``.
    """
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _stop)
    desk = Desk()
    device = Device(Path(folder).expanduser().absolute(), desk)
    print()  # ends what a login shell may have printed without a line break
    with suppress(LinkLostError, BrokenPipeError):
        desk.send(reply={})
        while True:
            _answer(device, desk)
    sys.stdout = None  # nobody reads what is still in its buffer
    sys.exit(0)


def _answer(device: Device, desk: Desk) -> None:
    request = dict(desk.request())
    try:
        desk.send(reply=device.answers[request.pop("do")](**request))
    except FaultError as fault:
        desk.send(fault=fault.parts)
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"'{error.filename}' on the device" if error.filename else "the device"
        desk.send(fault={"what": f"{place}: {error.strerror}"})


def _stop(number: int, frame: object) -> None:
    raise LinkLostError
