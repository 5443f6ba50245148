"""This machine as a device: a bundle is measured in a process of its own, as on another one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from backends.files import temporary_folder
from backends.process.child import Limits, failure, module_command, start_limited
from backends.process.deadline import Deadline
from deploy.devices.errors import DeviceError
from deploy.devices.work import DeviceWork, measure_words
from deploy.recipe.devices import DeviceRecipe
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.device_record import DeviceRecord, parse_record

_POLL = 0.1  # seconds
_ERROR = "error: "


def measure_here(
    device: DeviceRecipe, bundle: Path, work: DeviceWork, tell: Callable[[str], None]
) -> DeviceRecord:
    """Measure a bundle on this machine; the bundle stays as it is.

    Args:
        device: without a host.
        bundle: its folder.
        work: what is measured.
        tell: is given a line on what is being done.

    Raises:
        DeviceError: the bundle fails here, or takes too long.
        RecordError: the process has answered something else.
    """
    with temporary_folder() as scratch:
        if any(artifact.pending for artifact in read_manifest(bundle).artifacts):
            bundle = shutil.copytree(bundle, scratch / "bundle")  # its engines are built there
        record = scratch / "record.json"
        dataset = str(work.dataset.absolute()) if work.dataset else None
        words = [str(bundle), "--json", str(record), *measure_words(device, work, dataset)]
        command = module_command("deploy.runtime", "measure", *words)
        problem = _run(command, device.timeout, scratch / "output.txt", tell)
        if not record.is_file():
            raise DeviceError(f"device '{device.name}': the bundle cannot be measured: {problem}")
        answered = parse_record(record.read_bytes(), f"device '{device.name}'")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(answered, device=device.name, at=now)


def _run(command: Sequence[str], seconds: float, file: Path, tell: Callable[[str], None]) -> str:
    """Run a command to its end.

    Args:
        command: as of ``start_limited``.
        seconds: until it is killed.
        file: for what it prints.
        tell: is given each line of that.

    Returns:
        The error that it printed last, or else how it ended.
    """
    error = ""
    with (
        file.open("w") as output,
        file.open(errors="backslashreplace") as printed,
        start_limited(command, Limits(seconds), output) as child,
    ):
        is_running, deadline = True, Deadline(seconds, child.pid)
        while is_running:
            is_running = child.poll() is None
            if not deadline.left():
                return f"no end within {seconds:g} s"
            for line in _new_lines(printed):
                tell(line)
                error = line.removeprefix(_ERROR) if line.startswith(_ERROR) else error
            time.sleep(_POLL if is_running else 0)
    return error or failure(child.returncode)


def _new_lines(file: TextIO) -> Iterator[str]:
    """The lines that are complete; a further one is left for the next time."""
    place = file.tell()
    while (line := file.readline()).endswith("\n"):
        place = file.tell()
        yield line.rstrip("\n")
    file.seek(place)
