"""A conversion in a process of its own: one that crashes, hangs or leaves nothing is an error."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.codec import FormatError
from backends.contract import Artifact, ConversionError, Dynamic, Segment, Specs
from backends.conversion_files import ARTIFACT_FILE, read_artifact
from backends.files import file_fault, name_fault
from backends.options import Value
from backends.process.child import Limits, run_limited
from backends.registry import package

_TAIL = 15  # lines of a failed converter's stderr that the error shows


_GIB = 1 << 30


_NO_ROOM = ("MemoryError", "bad_alloc", "File too large", "SIGXFSZ", "Cannot allocate memory")


@dataclass(frozen=True)
class ConversionLimits:
    """What one conversion may take.

    Attributes:
        timeout: seconds.
        memory_gib: that it may allocate; 0 sets no limit.
        file_gib: of a file that it writes; 0 sets no limit.
    """

    timeout: float
    memory_gib: float = 0
    file_gib: float = 0

    def limits(self) -> Limits:
        """The same in bytes."""
        return Limits(self.timeout, int(self.memory_gib * _GIB), int(self.file_gib * _GIB))

    def __str__(self) -> str:
        return (
            f"convert.timeout={self.timeout:g}, convert.memory_gib={self.memory_gib:g}, "
            f"convert.file_gib={self.file_gib:g}"
        )


def convert_in_child(
    segment: Segment,
    backend: str,
    options: Mapping[str, Value],
    precision: str,
    sample: Path | None,
    out: Path,
    allowance: ConversionLimits,
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
        allowance: what the converter's process may take.

    Raises:
        ConversionError: with the segment, the backend, how the process ended, the end of its
            stderr, and the command that repeats it.
    """
    command = conversion_command(segment, backend, options, precision, sample, out)
    log = out.with_suffix(".log")
    with log.open("w+") as output:
        fault = run_limited(command, allowance.limits(), output)
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:]
    if any(sign in text for sign in _NO_ROOM for text in (fault, *lines)):
        fault += f", within {allowance}"
    elif fault.startswith("no end"):
        fault += " (convert.timeout)"
    fault = fault or _fault(segment, backend, out)
    if fault:
        shutil.rmtree(out, ignore_errors=True)
        shown = "".join(f"\n    {line}" for line in lines)
        raise ConversionError(
            f"cannot convert segment '{segment.name}' to {backend}: {fault}{shown}",
            do=f"\n  To repeat it: {shlex.join(command)}",
        )
    return read_artifact(out)


def _fault(segment: Segment, backend: str, out: Path) -> str:
    """What is wrong with what a converter that reports success has left."""
    if not (out / ARTIFACT_FILE).is_file():
        return "exit code 0, but no artifact"
    try:
        artifact = read_artifact(out)
    except (OSError, ValueError, FormatError, RecursionError) as error:
        return f"exit code 0, but its {ARTIFACT_FILE} is not readable: {error}"
    if (artifact.name, artifact.backend) != (segment.name, backend):
        return f"exit code 0, but an artifact of '{artifact.name}' for '{artifact.backend}'"
    for made, asked in ((artifact.inputs, segment.inputs), (artifact.outputs, segment.outputs)):
        if _tensors(made) != _tensors(asked):
            return f"exit code 0, but its tensors are {_tensors(made)}, not {_tensors(asked)}"
    for name in artifact.files:
        if fault := name_fault(name) or file_fault(out, name):
            return f"exit code 0, but its file {name!r}: {fault}"
    return "" if artifact.files else "exit code 0, but an artifact without files"


def _tensors(specs: Specs) -> list[str]:
    return [f"{spec.name}: {spec.dtype}" for spec in specs]


def conversion_command(
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
