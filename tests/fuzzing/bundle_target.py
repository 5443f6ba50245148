"""A bundle run to the end: opened, called, checked, verified, packed and unpacked."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
from pathlib import Path

import numpy as np

from backends.contract import Array, DeployError, Specs
from deploy.cli.main import run_command
from deploy.runtime import Pipeline
from deploy.runtime.bundle.archive import pack, unpack
from deploy.runtime.commands.check import check
from tests.fuzzing.bundle_values import DOOR, PORT
from tests.fuzzing.worker import Door

_MOST_ELEMENTS = 1 << 22  # of a tensor of zeros; the harness itself shall not run out of memory
_MOST_GIB = 0.1
_PICTURE = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3)


class _BundleRun:
    """The target, with a socket that nothing may connect to."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def listen(self) -> None:
        """Open the socket, before any case; where another campaign has it, that one sees."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", PORT))
        except OSError:
            listening.close()
            return
        listening.listen(16)
        self._socket = listening

    def __call__(self, bundle: Path, out: Path, door: Door) -> None:
        """Try every way in; at the end a fault is raised, or else the first refusal."""
        path = bundle / DOOR
        full = json.loads(path.read_text())["full"] if path.exists() else False
        path.unlink(missing_ok=True)
        errors: list[Exception] = []
        ways = (_opened, _checked, _verified, _packed)
        with contextlib.redirect_stdout(io.StringIO()):
            for way in ways:
                door()
                try:
                    way(bundle, out, full)
                except Exception as error:  # noqa: BLE001 - the other ways are to be tried too
                    errors.append(error)
        self._check_traces()
        faults = [error for error in errors if not isinstance(error, DeployError)]
        for error in (*faults, *errors):
            raise error

    def _check_traces(self) -> None:
        if self._socket is not None:
            ready, _, _ = select.select([self._socket], [], [], 0)
            if ready:
                self._socket.accept()[0].close()  # the next case begins without it
            assert not ready, "something connected to the socket"
        with contextlib.suppress(ChildProcessError):  # there is none
            child, _ = os.waitpid(-1, os.WNOHANG)
            raise AssertionError(f"a child process was left: {child or 'it still runs'}")


run_to_the_end = _BundleRun()


def _opened(bundle: Path, out: Path, full: bool) -> None:
    """Open it and call it, with a picture where it takes one."""
    with Pipeline.open(bundle, isolate="always" if full else "never") as pipeline:
        errors: list[DeployError] = []
        if pipeline.manifest.pre is not None:
            try:
                pipeline(_PICTURE).to_json(pipeline.classes)
            except DeployError as error:
                errors.append(error)
        for filled in (0, 1):
            try:
                pipeline.chain(_filled(pipeline.manifest.inputs, filled))
            except DeployError as error:
                errors.append(error)
        for error in errors:
            raise error


def _checked(bundle: Path, out: Path, full: bool) -> None:
    check(bundle, None, isolate="always" if full else "never")


def _verified(bundle: Path, out: Path, full: bool) -> None:
    try:
        run_command("bundle", ["verify", str(bundle)])
    except SystemExit as error:
        if error.code not in (None, 0):
            raise DeployError(str(error.code)) from error


def _packed(bundle: Path, out: Path, full: bool) -> None:
    for ending in (".tar", ".zip"):
        archive = out / f"packed{ending}"
        pack(bundle, archive)
        unpack(archive, out / f"again{ending}", _MOST_GIB)


def _filled(specs: Specs, value: int) -> dict[str, Array]:
    shapes = {spec.name: spec.typical for spec in specs}
    if any(np.prod(shape, dtype=np.float64) > _MOST_ELEMENTS for shape in shapes.values()):
        return {}
    return {spec.name: np.full(shapes[spec.name], value, spec.dtype) for spec in specs}
