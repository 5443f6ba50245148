"""A conversion in a process of its own: one that crashes, hangs or leaves nothing is an error."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from backends.command import ARTIFACT, read_artifact
from backends.contract import Artifact, ConversionError, Dynamic, Segment, Specs
from backends.options import Value
from backends.registry import package

_TAIL = 15  # lines of a failed converter's stderr that the error shows


def convert_in_child(
    segment: Segment,
    backend: str,
    options: Mapping[str, Value],
    precision: str,
    sample: Path | None,
    out: Path,
    timeout: float,
) -> Artifact:
    """Convert one segment; it counts only when the result loads, runs and agrees.

    Args:
        segment: what to convert.
        backend: the backend's name.
        options: of the backend, complete.
        precision: that the segment's graph computes in.
        sample: the npz file with every input and output of the segment; without one the result
            counts as it is, and nothing of it is run.
        out: the folder of the artifact; the converter's log is written beside it.
        timeout: seconds until the converter's process is ended.

    Raises:
        ConversionError: with the segment, the backend, how the process ended, the end of its
            stderr, and the command that repeats it.
    """
    command = conversion(segment, backend, options, precision, sample, out)
    what = f"segment '{segment.name}' to {backend}"
    _run(command, what, out.with_suffix(".log"), timeout)
    if not (out / ARTIFACT).is_file():
        raise ConversionError(
            f"cannot convert {what}: exit code 0, but no artifact",
            do=f"\n  To repeat it: {shlex.join(command)}",
        )
    return read_artifact(out)


def conversion(
    segment: Segment,
    backend: str,
    options: Mapping[str, Value],
    precision: str,
    sample: Path | None,
    out: Path,
) -> list[str]:
    """The words of the command that converts one segment; see ``convert_in_child``."""
    ranges = [
        part
        for dim in _dynamic((*segment.inputs, *segment.outputs))
        for part in ("--range", f"{dim.name}={dim.min},{dim.opt},{dim.max}")
    ]
    module = [sys.executable, "-m", package(backend)]
    check = ["--no-check"] if sample is None else ["--sample", str(sample)]
    files = [str(segment.onnx), str(out), "--name", segment.name, *check]
    words = [f"{key}={_text(value)}" for key, value in options.items()]
    return [*module, *files, "--precision", precision, *ranges, *words]


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dynamic(specs: Specs) -> list[Dynamic]:
    dims = (dim for spec in specs for dim in spec.dims if isinstance(dim, Dynamic))
    return sorted(set(dims), key=lambda dim: dim.name)


def _run(command: list[str], what: str, log: Path, timeout: float) -> None:
    with log.open("w+") as stderr:
        child = subprocess.Popen(
            command, stdout=stderr, stderr=stderr, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            code = child.wait(timeout)
            ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        except subprocess.TimeoutExpired:
            code, ending = 1, f"no end within {timeout:g} s (convert.timeout)"
        finally:
            _end(child)
    if code:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL:]
        raise ConversionError(
            f"cannot convert {what}: {ending}\n" + "\n".join(f"    {line}" for line in lines),
            do=f"\n  To repeat it: {shlex.join(command)}",
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the converter together with everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
