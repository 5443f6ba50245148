"""A conversion in a child process: one that crashes, hangs or leaves nothing is an error."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.acceptance import DEFAULT_RULE, AcceptanceRule
from backends.codec import FormatError
from backends.contract import (
    UNBOUNDED,
    Artifact,
    ConversionError,
    DisagreementError,
    Dynamic,
    Segment,
    Specs,
)
from backends.conversion_files import (
    ARTIFACT_FILE,
    ConversionFailure,
    read_artifact,
    read_failure,
)
from backends.files import file_fault, name_fault, temporary_folder
from backends.options import Value
from backends.process.child import Limits, module_command, run_limited
from backends.registry import package

CONVERTER_ERROR = "error: "  # what a converter prints before the error that ends it
_TAIL = 15  # lines of a failed converter's stderr that the error shows
_GIB = 1 << 30
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "File too large", "SIGXFSZ", "Cannot allocate memory")


@dataclass(frozen=True)
class ConversionLimits:
    """The resources of one conversion.

    Attributes:
        timeout: seconds.
        memory_gib: that it may allocate; 0 sets no limit.
        file_gib: of a file that it writes; 0 sets no limit.
    """

    timeout: float
    memory_gib: float = 0
    file_gib: float = 0

    def in_bytes(self) -> Limits:
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
    limits: ConversionLimits,
    rule: AcceptanceRule = DEFAULT_RULE,
) -> Artifact:
    """Convert one segment, and check that the result loads, runs and agrees with the sample.

    Args:
        segment: what to convert.
        backend: the backend's name.
        options: of the backend, complete.
        precision: of the segment's graph.
        sample: the npz file with every input and output of the segment; without one the result
            is neither run nor compared.
        out: the folder of the artifact; the converter's log is written beside it.
        limits: of the converter's process.
        rule: what counts as agreement with the sample.

    Raises:
        DisagreementError: the result runs, and does not agree with the sample.
        ConversionError: any other failure: the segment, the backend, how the process ended, the
            end of its stderr, and the command that repeats it; and the nodes that the converter
            refuses, where it names them.
    """
    arguments = _arguments(segment, options, precision, sample, out, rule)
    log = out.with_suffix(".log")
    with temporary_folder() as folder, log.open("w+") as output:
        failure_file = Path(folder) / "failure.json"
        words = [*arguments[:2], "--failure", str(failure_file), *arguments[2:]]
        fault = run_limited(module_command(package(backend), *words), limits.in_bytes(), output)
        failure = read_failure(failure_file)
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:]
    if any(sign in text for sign in _OUT_OF_MEMORY for text in (fault, *lines)):
        fault += f", within {limits}"
    elif fault.startswith("no end"):
        fault += " (convert.timeout)"
    fault = fault or _artifact_fault(segment, backend, out)
    if fault:
        shutil.rmtree(out, ignore_errors=True)
        fault, lines = _own_error(segment.name, fault, lines)
        stderr = "".join(f"\n    {line}" for line in lines)
        repeat = shlex.join([sys.executable, "-m", package(backend), *arguments])
        raise _error(
            f"cannot convert segment '{segment.name}' to {backend}: {fault}{stderr}",
            f"\n  To repeat it: {repeat}",
            failure,
        )
    return read_artifact(out)


def _error(what: str, do: str, failure: ConversionFailure) -> ConversionError:
    if failure.wrong_tensor:
        return DisagreementError(what, do=do, tensor=failure.wrong_tensor)
    return ConversionError(what, do=do, refused=failure.refused)


def _own_error(segment: str, fault: str, lines: list[str]) -> tuple[str, list[str]]:
    """The converter's own error instead of an exit code, and the lines that belong to it."""
    starts = [number for number, line in enumerate(lines) if line.startswith(CONVERTER_ERROR)]
    if fault != "exit code 1" or not starts:
        return fault, lines
    own = lines[starts[-1] :]
    sentence = own[0].removeprefix(CONVERTER_ERROR).removeprefix(f"segment '{segment}': ")
    return sentence, own[1:]


def conversion_command(
    segment: Segment,
    backend: str,
    options: Mapping[str, Value],
    precision: str,
    sample: Path | None,
    out: Path,
) -> list[str]:
    """The command for a user to type that converts one segment; see ``convert_in_child``."""
    arguments = _arguments(segment, options, precision, sample, out, DEFAULT_RULE)
    return ["python", "-m", package(backend), *arguments]


def _arguments(
    segment: Segment,
    options: Mapping[str, Value],
    precision: str,
    sample: Path | None,
    out: Path,
    rule: AcceptanceRule,
) -> list[str]:
    """The arguments of the backend's standalone converter."""
    ranges = [
        argument
        for dim in _dynamic_dims((*segment.inputs, *segment.outputs))
        for argument in ("--range", f"{dim.name}={_sizes(dim)}")
    ]
    check = ["--no-check"] if sample is None else ["--sample", str(sample)]
    if sample is not None:
        special = rule.special(precision, (spec.name for spec in segment.outputs))
        check += [
            f"--tolerance={name}={bound.max_rel!r},{bound.cosine!r}"
            for name, bound in special.items()
        ]
    files = [str(segment.onnx), str(out), "--name", segment.name, *check]
    assignments = [f"{key}={_text(value)}" for key, value in options.items()]
    return [*files, "--precision", precision, *ranges, *assignments]


def _sizes(dim: Dynamic) -> str:
    largest = "" if dim.max >= UNBOUNDED else dim.max
    multiple = f",{dim.multiple}" if dim.multiple > 1 else ""
    return f"{dim.min},{dim.opt},{largest}{multiple}"


def _artifact_fault(segment: Segment, backend: str, out: Path) -> str:
    """What is wrong with the result of a converter that reports success, or nothing."""
    if not (out / ARTIFACT_FILE).is_file():
        return "exit code 0, but no artifact"
    try:
        artifact = read_artifact(out)
    except (OSError, ValueError, FormatError, RecursionError) as error:
        return f"exit code 0, but its {ARTIFACT_FILE} is not readable: {error}"
    if (artifact.name, artifact.backend) != (segment.name, backend):
        return f"exit code 0, but an artifact of '{artifact.name}' for '{artifact.backend}'"
    for specs, expected in ((artifact.inputs, segment.inputs), (artifact.outputs, segment.outputs)):
        if _tensors(specs) != _tensors(expected):
            return f"exit code 0, but its tensors are {_tensors(specs)}, not {_tensors(expected)}"
    for name in artifact.files:
        if fault := name_fault(name) or file_fault(out, name):
            return f"exit code 0, but its file {name!r}: {fault}"
    return "" if artifact.files else "exit code 0, but an artifact without files"


def _tensors(specs: Specs) -> list[str]:
    return [f"{spec.name}: {spec.dtype}" for spec in specs]


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dynamic_dims(specs: Specs) -> list[Dynamic]:
    dims = (dim for spec in specs for dim in spec.dims if isinstance(dim, Dynamic))
    return sorted(set(dims), key=lambda dim: dim.name)
