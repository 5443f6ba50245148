"""Segments -> artifacts, each by its backend's own converter in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.command import ARTIFACT, read_artifact
from backends.contract import Artifact, ConversionError, Dynamic, Segment, Specs, Tensors
from backends.options import options_json, parse_options
from backends.registry import options_type, package
from deploy.recipe import BackendRecipe
from deploy.samples import write_sample

_TAIL = 15  # lines of a failed converter's stderr that the error shows


@dataclass(frozen=True)
class Converted:
    """An artifact and the folder that its files are relative to."""

    artifact: Artifact
    root: Path


def checked_options(backend: BackendRecipe) -> Mapping[str, bool | int | float | str]:
    """The backend's options, complete and typed.

    Raises:
        OptionError: an option or value that the backend does not take.
    """
    return options_json(parse_options(options_type(backend.name), backend.options, backend.name))


def convert(
    segment: Segment, backend: BackendRecipe, sample: Tensors, out: Path, timeout: float
) -> Converted:
    """Convert one segment; it counts only when the result loads, runs and agrees.

    Args:
        segment: what to convert.
        backend: the backend and its options.
        sample: the reference's values of every input and output of the segment.
        out: the folder of the artifact; its sample and log are written beside it.
        timeout: seconds until the converter's process is ended.

    Raises:
        ConversionError: with the segment, the backend, how the process ended, the end of its
            stderr, and the command that repeats it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    samples = out.with_name(f"{out.name}.sample.npz")
    write_sample(samples, segment.inputs, segment.outputs, sample)
    command = _command(segment, backend, samples, out)
    what = f"segment '{segment.name}' to {backend.name}"
    _run(command, what, out.with_suffix(".log"), timeout)
    if not (out / ARTIFACT).is_file():
        raise ConversionError(
            f"cannot convert {what}: exit code 0, but no artifact",
            do=f"\n  To repeat it: {shlex.join(command)}",
        )
    return Converted(read_artifact(out), out)


def _command(segment: Segment, backend: BackendRecipe, samples: Path, out: Path) -> list[str]:
    options = [f"{key}={_text(value)}" for key, value in checked_options(backend).items()]
    ranges = [
        part
        for dim in _dynamic((*segment.inputs, *segment.outputs))
        for part in ("--range", f"{dim.name}={dim.min},{dim.opt},{dim.max}")
    ]
    module = [sys.executable, "-m", package(backend.name)]
    files = [str(segment.onnx), str(out), "--name", segment.name, "--sample", str(samples)]
    return [*module, *files, *ranges, *options]


def _text(value: bool | int | float | str) -> str:
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
