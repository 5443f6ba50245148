"""``manifest.json``: what a bundle is made of, its history, and its errors against the reference.

A manifest is written whole, and read as untrusted input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from backends.acceptance import TOLERANCES
from backends.bounds import Length, Name
from backends.codec import FormatError, from_json, to_json
from backends.contract import Artifact, DeployError, Dim, Dynamic, Specs, TensorSpec
from backends.error_metrics import ErrorMetrics
from backends.files import atomic_write, file_fault, name_fault, names_fault
from backends.json_limits import check_json
from backends.options import other_device
from deploy.runtime.vision.pre import Pre, pre_fault

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
HANDOVER = "handover.json"
FORMAT = 2
MOST_BYTES = 16 << 20  # of the file

STEP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # it names files and folders
_LINE_BREAK = re.compile(rb"(?<!\\)(?:\\\\)*\\(?:n|u000[aA])")  # as JSON writes it in a text
_SHA256 = re.compile(r"[0-9a-f]{64}")
DTYPES = {np.dtype(code).name for code in "?bhilqBHILQefdFD"} | {"bfloat16"}
"""The names of the dtypes that a tensor may have."""


_MOST_ELEMENTS = 1 << 31  # of a tensor
_MOST_AXES = 32  # NumPy 1's own limit
_MOST_STEPS = 1000
_MOST_SPECS = 10_000  # of a step
_SHOWN = 200  # characters of a text in an error

Classes = Annotated[tuple[Name, ...], Length(0, 100_000)]
"""Names of the labels of detections."""


Tools = Annotated[Mapping[Name, Name], Length(0, 1_000)]
"""Versions of libraries by their names."""


Kind = Literal["engine", "source", "sample", "picture", "state", "handover"]


Status = Literal["passed", "failed", "pending", "not run"]


class BundleError(DeployError):
    """A bundle that is missing, damaged, of another format, or not one at all."""


@dataclass(frozen=True)
class Content:
    """The SHA-256 (hex) and the size in bytes of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class FileEntry(Content):
    """A file of a bundle, and what it is for.

    Attributes:
        kind: ``engine`` files are loaded by a backend, ``source`` files are segments that an
            engine is built from, ``sample`` files serve the check, a ``picture`` is for people,
            a ``state`` file has the first values of a state, ``handover`` is what a program
            without this runtime needs to know.
    """

    kind: Kind


@dataclass(frozen=True)
class HostStep:
    """A host step of a chain.

    Attributes:
        name: of the step.
        id: under which its code is registered.
        inputs: its input tensors.
        outputs: its output tensors.
        params: keyword arguments of its code.
        calls: engine steps that it runs itself, any number of times; the chain skips them.
    """

    name: Name
    id: Name
    inputs: Specs
    outputs: Specs
    params: Mapping[Name, Any] = field(default_factory=dict)
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostStep:
    """The host step after the chain: a registered id, its input tensors, its parameters."""

    id: Name
    inputs: tuple[str, ...]
    params: Mapping[Name, Any]


@dataclass(frozen=True)
class TextStep:
    """What makes the chain's inputs of a text: a registered id, and its parameters."""

    id: Name
    params: Mapping[Name, Any]


@dataclass(frozen=True)
class StateTensor:
    """A tensor that is carried between calls: an input of the chain, and the output after it."""

    input: Name
    output: Name


@dataclass(frozen=True)
class StepMetrics:
    """The errors of one tensor of a step, or of the whole chain (step ``chain``)."""

    step: Name
    gap: ErrorMetrics


@dataclass(frozen=True)
class Verification:
    """What was measured against PyTorch on the desk.

    Attributes:
        status: whether all errors are within the tolerances of their precisions; ``pending`` where
            the device has yet to measure them.
        gaps: the errors of every output of every step, then of the chain.
        notes: further figures: results matched, scores of both on a data set.
    """

    status: Status
    gaps: tuple[StepMetrics, ...] = ()
    notes: Annotated[Mapping[Name, float], Length(0, 1_000)] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceEntry:
    """What a device has measured of the bundle.

    Attributes:
        name: of the device.
        at: the time at the desk, UTC, as ISO 8601.
        architecture: of the device, such as ``aarch64``.
        processor: its name; empty where the system does not tell it.
        tools: versions of the libraries there.
        status: whether the sample agrees with the reference there.
        gaps: the errors of each output for the sample; of every step where engines were built.
        notes: further figures: results matched, scores, and the latency as ``p50_ms``.
    """

    name: Name
    at: Name
    architecture: Name
    processor: Name
    tools: Tools
    status: Literal["passed", "failed"]
    gaps: tuple[StepMetrics, ...] = ()
    notes: Annotated[Mapping[Name, float], Length(0, 1_000)] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A bundle's description.

    Attributes:
        model: its name.
        classes: names of the labels.
        inputs: of the chain.
        outputs: of the chain.
        steps: the artifacts, their files relative to the bundle.
        pre: how a picture becomes the input, if the model takes one.
        post: the host step after the chain, if there is one.
        sample: the file with sample inputs and PyTorch's outputs.
        files: every file of the bundle but the manifest.
        tools: versions of the libraries that made the bundle.
        verification: its errors against PyTorch.
        host: the host steps between the artifacts.
        alternatives: further artifacts for some of the steps, under the names of these.
        state: the tensors that are carried from one call to the next.
        initial_state: the file with their values before the first call.
        text: how a text becomes the inputs, if the model takes text.
        devices: what devices have measured of the bundle; they get it without these entries.
        format: the version of this description.
    """

    model: Name
    classes: Classes
    inputs: Specs
    outputs: Specs
    steps: tuple[Artifact, ...]
    pre: Pre | None
    post: PostStep | None
    sample: str | None
    files: Mapping[str, FileEntry]
    tools: Tools
    verification: Verification
    host: tuple[HostStep, ...] = ()
    alternatives: tuple[Artifact, ...] = ()
    state: tuple[StateTensor, ...] = ()
    initial_state: str | None = None
    text: TextStep | None = None
    devices: Annotated[tuple[DeviceEntry, ...], Length(0, 1_000)] = ()
    format: int = FORMAT

    @property
    def caller_inputs(self) -> Specs:
        """The inputs that a caller gives: those of the chain without its state."""
        carried = {tensor.input for tensor in self.state}
        return tuple(spec for spec in self.inputs if spec.name not in carried)

    @property
    def caller_outputs(self) -> Specs:
        """The outputs that a caller gets: those of the chain without its state."""
        carried = {tensor.output for tensor in self.state}
        return tuple(spec for spec in self.outputs if spec.name not in carried)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Every artifact: of the steps, then their alternatives."""
        return (*self.steps, *self.alternatives)


def without_devices(manifest: Manifest) -> Manifest:
    """The manifest as devices get it: without what devices have measured."""
    return replace(manifest, devices=())


def called_steps(manifest: Manifest) -> set[str]:
    """The engine steps that host steps run themselves."""
    return {name for host in manifest.host for name in host.calls}


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into the bundle; an earlier one is replaced as a whole."""
    with atomic_write(bundle / MANIFEST) as part:
        part.write_text(json.dumps(to_json(manifest), indent=2) + "\n")


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest; the files that it lists are not looked at.

    Raises:
        BundleError: not a bundle, not this format, or a description that contradicts itself.
    """
    return parse_manifest(manifest_bytes(bundle), str(bundle))


def manifest_bytes(bundle: Path) -> bytes:
    """The content of a bundle's ``manifest.json``.

    Raises:
        BundleError: there is none, or it is no regular file of a reasonable size.
    """
    path = bundle / MANIFEST
    if not path.exists():
        got = "a folder without" if bundle.is_dir() else "a file" if bundle.exists() else "nothing"
        raise BundleError(
            f"'{bundle}' is not a bundle", expected=f"a folder with {MANIFEST}", got=got
        )
    if fault := file_fault(bundle, MANIFEST):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} {fault}")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BundleError(
            f"bundle '{bundle}': {MANIFEST}", expected=f"at most {MOST_BYTES:,} bytes", got="more"
        )
    return data


def parse_manifest(data: bytes, bundle: str) -> Manifest:
    """Parse and check the content of a ``manifest.json``.

    Args:
        data: the content.
        bundle: the bundle's name, for errors.

    Raises:
        BundleError: as of ``read_manifest``.
    """
    parsed = _parse_json(data, bundle)
    _check_format(bundle, parsed)
    try:
        check_json(parsed, MANIFEST)
        manifest = from_json(Manifest, parsed, MANIFEST)
        check_manifest(manifest)
    except FormatError as error:
        raise BundleError(f"bundle '{bundle}': {error}") from error
    if _LINE_BREAK.search(data):  # a name with one could print a line of its own
        raise BundleError(f"bundle '{bundle}': {MANIFEST} has a text with a line break")
    return manifest


def _parse_json(data: bytes, bundle: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:  # bad text and bad JSON are ValueErrors too
        raise BundleError(f"bundle '{bundle}': {MANIFEST} is not JSON: {error}") from error
    return parsed if isinstance(parsed, dict) else {}


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; JSON allows a key twice, and readers differ in which value they take."""
    keys = [key for key, _ in pairs]
    unique = dict(pairs)
    if len(unique) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key '{twice[:80]}' is there twice")
    return unique


def _check_format(bundle: str, parsed: Mapping[str, Any]) -> None:
    number = parsed.get("format")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} has no format number")
    if number != FORMAT:
        raise BundleError(
            f"bundle '{bundle}'",
            expected=f"format {FORMAT}",
            got=f"format {str(number)[:20]}",
            do="Update this runtime." if number > FORMAT else "Make the bundle again.",
        )


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself, or declares sizes that no model needs.

    Raises:
        FormatError: naming the field.
    """
    _check_files(manifest)
    _check_steps(manifest)
    _check_alternatives(manifest)
    for field_name, specs in _all_specs(manifest):
        _check_specs(field_name, specs)
    if manifest.pre is not None:
        _check_pre(manifest.pre, manifest.caller_inputs)
    _check_state(manifest)
    if manifest.post is not None:
        outputs = [spec.name for spec in manifest.outputs]
        _check_known("post.inputs", manifest.post.inputs, outputs)
    if manifest.text is not None and manifest.pre is not None:
        raise _fault("text", "a bundle that takes text or pictures", "both")


def _check_files(manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        reserved = "the manifest's own name" if name in (MANIFEST, SIGNATURE) else ""
        if fault := name_fault(name) or reserved:
            raise _fault("files", "files inside the bundle", f"{name!r} ({fault})")
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            raise _fault(
                f"files.{name}",
                "a SHA-256 of 64 hexadecimal digits and a size from 0 up",
                f"{entry.sha256[:80]!r}, {entry.size}",
            )
    if fault := names_fault((MANIFEST, SIGNATURE, *manifest.files)):
        raise FormatError(f"{MANIFEST}: files: {fault}")
    for name, kind in _used_files(manifest):
        if name not in manifest.files:
            raise FormatError(f"{MANIFEST}: file '{name}' is used, but not listed in files")
        if manifest.files[name].kind != kind:
            raise _fault(f"files.{name}.kind", kind, manifest.files[name].kind)


def _used_files(manifest: Manifest) -> Iterator[tuple[str, Kind]]:
    for step in manifest.artifacts:
        yield from ((name, "engine") for name in step.files)
        yield from ((name, "source") for name in step.source)
    if manifest.sample is not None:
        yield manifest.sample, "sample"
    if manifest.initial_state is not None:
        yield manifest.initial_state, "state"


def _check_steps(manifest: Manifest) -> None:
    names = [step.name for step in _all_steps(manifest)]
    if (count := len(names) + len(manifest.alternatives)) > _MOST_STEPS:
        raise _fault("steps", f"at most {_MOST_STEPS}", f"{count}")
    for name in names:
        if not STEP_NAME.fullmatch(name):
            raise _fault("name of a step", "letters, digits, '_', '.' and '-'", repr(name[:_SHOWN]))
        if names.count(name) > 1:
            raise FormatError(f"{MANIFEST}: two steps are called '{name}'")
    for step in manifest.artifacts:
        _check_known(f"precision of '{step.name}'", [step.precision], TOLERANCES)
    engines = [step.name for step in manifest.steps]
    _check_known("what a host step calls", sorted(called_steps(manifest)), engines)


def _kind_of_engine(artifact: Artifact) -> tuple[str, ...]:
    device = other_device(artifact.options)
    return artifact.name, artifact.backend, device, artifact.precision


def _check_alternatives(manifest: Manifest) -> None:
    """Each has the inputs and outputs of its step, and is an engine of its own."""
    steps = {step.name: step for step in manifest.steps}
    seen = {_kind_of_engine(step) for step in manifest.steps}
    for artifact in manifest.alternatives:
        name, key = artifact.name, _kind_of_engine(artifact)
        _check_known("step of an alternative", [name], steps)
        if key in seen:
            raise FormatError(f"{MANIFEST}: two engines of '{name}' are of one kind")
        seen.add(key)
        if (artifact.inputs, artifact.outputs) != (steps[name].inputs, steps[name].outputs):
            raise _fault(
                f"an alternative of '{name}'", "the inputs and outputs of its step", "others"
            )


def _all_steps(manifest: Manifest) -> list[Artifact | HostStep]:
    return [*manifest.steps, *manifest.host]


def _all_specs(manifest: Manifest) -> Iterator[tuple[str, Specs]]:
    yield "inputs", manifest.inputs
    yield "outputs", manifest.outputs
    for step in _all_steps(manifest):
        yield f"inputs of '{step.name}'", step.inputs
        yield f"outputs of '{step.name}'", step.outputs


def _check_specs(field_name: str, specs: Specs) -> None:
    if len(specs) > _MOST_SPECS:
        raise _fault(field_name, f"at most {_MOST_SPECS:,} tensors", f"{len(specs):,}")
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise FormatError(f"{MANIFEST}: {field_name}: '{spec.name}' is there twice")
        seen.add(spec.name)
        _check_spec(f"{field_name}: '{spec.name[:80]}'", spec)


def _check_spec(field_name: str, spec: TensorSpec) -> None:
    if spec.dtype not in DTYPES:
        dtypes = ", ".join(sorted(DTYPES))
        raise _fault(field_name, f"a dtype of NumPy ({dtypes})", repr(spec.dtype[:80]))
    if len(spec.dims) > _MOST_AXES or not all(map(_is_possible, spec.dims)):
        raise _fault(field_name, "a possible shape", str(spec)[:200])
    if spec.shape is not None and math.prod(spec.typical) > _MOST_ELEMENTS:
        raise _fault(field_name, f"at most {_MOST_ELEMENTS:,} elements", str(spec)[:200])


def _is_possible(dim: Dim) -> bool:
    if isinstance(dim, Dynamic):
        ascending = 0 <= dim.min <= dim.opt <= dim.max < _MOST_ELEMENTS
        return ascending and not any(s % dim.multiple for s in (dim.min, dim.opt, dim.max))
    return 0 <= dim <= _MOST_ELEMENTS


def _check_pre(pre: Pre, inputs: Specs) -> None:
    if fault := pre_fault(pre, inputs):
        raise _fault(f"pre.{fault.key}" if fault.key else "pre", fault.expected, fault.got)


def _check_state(manifest: Manifest) -> None:
    """A state is an input and an output of one fixed shape, and each is there once."""
    inputs = {spec.name: spec for spec in manifest.inputs}
    outputs = {spec.name: spec for spec in manifest.outputs}
    for names, known in (
        ([tensor.input for tensor in manifest.state], inputs),
        ([tensor.output for tensor in manifest.state], outputs),
    ):
        _check_known("state", names, known)
        if len(set(names)) < len(names):
            raise _fault("state", "each tensor once", ", ".join(names)[:_SHOWN])
    for tensor in manifest.state:
        before, after = inputs[tensor.input], outputs[tensor.output]
        dynamic = any(isinstance(dim, Dynamic) for dim in before.dims)
        if before.shape is None or dynamic or before.dims != after.dims:
            raise _fault(
                f"state '{tensor.input[:80]}'",
                "an input and an output of one fixed shape",
                f"{before} and {after}"[:_SHOWN],
            )
    if bool(manifest.state) != (manifest.initial_state is not None):
        raise _fault("initial_state", "a file where there is a state, and none elsewhere", "")


def _check_known(field_name: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            expected = f"one of {', '.join(sorted(known))}"
            raise _fault(field_name, expected, repr(name[:_SHOWN]))


def _fault(field_name: str, expected: str, got: str) -> FormatError:
    return FormatError(f"{MANIFEST}: {field_name}", expected=expected, got=got)
