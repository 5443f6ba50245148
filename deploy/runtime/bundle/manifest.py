"""``manifest.json``: what a bundle is made of, its history, and its errors against the reference.

A manifest is written whole, and read as untrusted input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backends.acceptance import TOLERANCES
from backends.codec import FormatError, from_json, to_json
from backends.contract import Artifact, DeployError, Dim, Dynamic, Specs, TensorSpec
from backends.error_metrics import ErrorMetrics
from backends.files import atomic_write, file_fault, name_fault
from deploy.runtime.vision.image import Pre


@dataclass(frozen=True)
class HostStep:
    """A host step of a chain.

    Attributes:
        name: of the step.
        id: under which its code is registered.
        inputs: the tensors that it takes.
        outputs: the tensors that it gives.
        params: keyword arguments of its code.
        calls: engine steps that it runs itself, as often as it likes; the chain runs them no more.
    """

    name: str
    id: str
    inputs: Specs
    outputs: Specs
    params: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[str, ...] = ()


MANIFEST = "manifest.json"


SIGNATURE = "manifest.sig"


FORMAT = 2


Kind = Literal["engine", "source", "sample", "picture"]


class BundleError(DeployError):
    """A bundle that is missing, damaged, of a newer format, or not one at all."""


@dataclass(frozen=True)
class Content:
    """The SHA-256 (hex) and the size in bytes of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class FileEntry(Content):
    """A file of a bundle, and what it is for.

    Attributes:
        kind: ``engine`` is what a backend loads, ``source`` what one is built from, ``sample``
            what the bundle is checked with; ``picture`` is for people.
    """

    kind: Kind


@dataclass(frozen=True)
class PostStep:
    """The host step after the chain: a registered id, the tensors it takes, its parameters."""

    id: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class StepMetrics:
    """The gap of one tensor of a step, or of the whole chain (step ``chain``)."""

    step: str
    gap: ErrorMetrics


@dataclass(frozen=True)
class Verification:
    """What was measured against PyTorch on the desk.

    Attributes:
        status: whether all gaps are within the tolerances of their precisions.
        gaps: of every output of every step, then of the chain.
        notes: further figures: detections matched, mAP of both.
    """

    status: Literal["passed", "failed", "not run"]
    gaps: tuple[StepMetrics, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A bundle's description.

    Attributes:
        model: its name.
        classes: names of the labels.
        inputs: tensors that the chain takes.
        outputs: tensors that the chain gives.
        steps: the artifacts, their files relative to the bundle.
        alternatives: further artifacts for some of the steps, which bear the names of these.
        host: what is done between them on the host.
        pre: how a picture becomes the input, if the model takes one.
        post: the host step after the chain, if there is one.
        sample: the file with sample inputs and PyTorch's outputs.
        files: every file of the bundle but the manifest.
        tools: versions of what made it.
        verification: what was measured.
        format: of this description.
    """

    model: str
    classes: tuple[str, ...]
    inputs: Specs
    outputs: Specs
    steps: tuple[Artifact, ...]
    pre: Pre | None
    post: PostStep | None
    sample: str | None
    files: Mapping[str, FileEntry]
    tools: Mapping[str, str]
    verification: Verification
    host: tuple[HostStep, ...] = ()
    alternatives: tuple[Artifact, ...] = ()
    format: int = FORMAT

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Everything that a backend loads: of the steps, and their alternatives."""
        return (*self.steps, *self.alternatives)


def called_steps(manifest: Manifest) -> set[str]:
    """The engine steps that host steps run themselves."""
    return {name for host in manifest.host for name in host.calls}


STEP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # it names files and folders


_SHA256 = re.compile(r"[0-9a-f]{64}")


_DTYPES = {np.dtype(code).name for code in "?bhilqBHILQefdFD"} | {"bfloat16"}


_MOST_ELEMENTS = 1 << 31


_MOST_PIXELS = 1 << 28


_MOST_NAME = 1000


_MOST_STEPS = 1000


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself, or asks for what no model needs.

    Raises:
        FormatError: by the field's path.
    """
    _check_files(manifest)
    _check_steps(manifest)
    for where, specs in _all_specs(manifest):
        _check_specs(where, specs)
    if manifest.pre is not None:
        _check_pre(manifest.pre, manifest.inputs)
    if manifest.post is not None:
        _among("post.inputs", manifest.post.inputs, [spec.name for spec in manifest.outputs])


def _check_files(manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        if fault := name_fault(name) or (
            "the manifest's own name" if name in (MANIFEST, SIGNATURE) else ""
        ):
            raise FormatError(
                f"{MANIFEST}: files", expected="files inside the bundle", got=f"{name!r} ({fault})"
            )
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            raise FormatError(
                f"{MANIFEST}: files.{name}",
                expected="a SHA-256 of 64 hexadecimal digits and a size from 0 up",
                got=f"{entry.sha256[:80]!r}, {entry.size}",
            )
    for name, kind in _used_files(manifest):
        if name not in manifest.files:
            raise FormatError(f"{MANIFEST}: file '{name}' is used, but not listed in files")
        if (found := manifest.files[name].kind) != kind:
            raise FormatError(f"{MANIFEST}: files.{name}.kind", expected=kind, got=found)


def _used_files(manifest: Manifest) -> Iterator[tuple[str, Kind]]:
    for step in manifest.artifacts:
        yield from ((name, "engine") for name in step.files)
        yield from ((name, "source") for name in step.source)
    if manifest.sample is not None:
        yield manifest.sample, "sample"


def _check_steps(manifest: Manifest) -> None:
    steps: list[Artifact | HostStep] = [*manifest.steps, *manifest.host]
    names = [step.name for step in steps]
    if (count := len(names) + len(manifest.alternatives)) > _MOST_STEPS:
        raise FormatError(f"{MANIFEST}: steps", expected=f"at most {_MOST_STEPS}", got=f"{count}")
    for name in names:
        if not STEP_NAME.fullmatch(name):
            raise FormatError(
                f"{MANIFEST}: name of a step",
                expected="letters, digits, '_', '.' and '-'",
                got=repr(name[:_MOST_NAME]),
            )
        if names.count(name) > 1:
            raise FormatError(f"{MANIFEST}: two steps are called '{name}'")
    for step in manifest.artifacts:
        _among(f"precision of '{step.name}'", [step.precision], list(TOLERANCES))
    _check_alternatives(manifest)
    engines = [step.name for step in manifest.steps]
    _among("what a host step calls", sorted(called_steps(manifest)), engines)


def _check_alternatives(manifest: Manifest) -> None:
    """Each stands for a step: it takes and gives the same, and is told from the others."""
    steps = {step.name: step for step in manifest.steps}
    seen = {(step.name, step.backend, step.precision) for step in manifest.steps}
    for other in manifest.alternatives:
        _among("step of an alternative", [other.name], list(steps))
        step, key = steps[other.name], (other.name, other.backend, other.precision)
        if key in seen:
            raise FormatError(f"{MANIFEST}: two engines of '{other.name}' are of one kind")
        seen.add(key)
        if (other.inputs, other.outputs) != (step.inputs, step.outputs):
            raise FormatError(
                f"{MANIFEST}: an alternative of '{other.name}'",
                expected="the inputs and outputs of its step",
                got="others",
            )


def _all_specs(manifest: Manifest) -> Iterator[tuple[str, Specs]]:
    yield "inputs", manifest.inputs
    yield "outputs", manifest.outputs
    steps: list[Artifact | HostStep] = [*manifest.steps, *manifest.host]
    for step in steps:
        yield f"inputs of '{step.name}'", step.inputs
        yield f"outputs of '{step.name}'", step.outputs


def _check_specs(where: str, specs: Specs) -> None:
    names = [spec.name for spec in specs]
    for spec in specs:
        if names.count(spec.name) > 1:
            raise FormatError(f"{MANIFEST}: {where}: '{spec.name}' is there twice")
        _check_spec(where, spec)


def _check_spec(where: str, spec: TensorSpec) -> None:
    if not 0 < len(spec.name) <= _MOST_NAME or spec.dtype not in _DTYPES:
        raise FormatError(
            f"{MANIFEST}: {where}: '{spec.name[:80]}'",
            expected=f"a dtype of NumPy ({', '.join(sorted(_DTYPES))})",
            got=repr(spec.dtype[:80]),
        )
    if len(spec.dims) > 32 or not all(map(_possible, spec.dims)):  # NumPy had 32 axes for long
        raise FormatError(
            f"{MANIFEST}: {where}: '{spec.name}'", expected="a possible shape", got=str(spec)[:200]
        )
    if spec.shape is not None and math.prod(spec.typical) > _MOST_ELEMENTS:
        raise FormatError(
            f"{MANIFEST}: {where}: '{spec.name}'",
            expected=f"at most {_MOST_ELEMENTS:,} elements",
            got=str(spec)[:200],
        )


def _possible(dim: Dim) -> bool:
    if isinstance(dim, Dynamic):
        return 0 <= dim.min <= dim.opt <= dim.max < _MOST_ELEMENTS
    return 0 <= dim <= _MOST_ELEMENTS


def _check_pre(pre: Pre, inputs: Specs) -> None:
    if [spec.name for spec in inputs] != [pre.input]:
        raise FormatError(
            f"{MANIFEST}: pre.input",
            expected="the one input of the chain",
            got=repr(pre.input[:_MOST_NAME]),
        )
    dims = inputs[0].dims  # of another rank is refused when a picture comes
    if len(dims) == 4 and not inputs[0].accepts((*inputs[0].typical[:2], pre.height, pre.width)):
        raise FormatError(
            f"{MANIFEST}: pre",
            expected=f"the size of {inputs[0]}",
            got=f"{pre.height} x {pre.width}",
        )
    sizes = pre.height > 0 and pre.width > 0 and pre.height * pre.width <= _MOST_PIXELS
    numbers = np.array([*pre.mean, *pre.std, pre.pad])
    if not sizes or not np.isfinite(numbers).all() or not all(pre.std):
        raise FormatError(
            f"{MANIFEST}: pre",
            expected="a size in pixels, and std other than 0",
            got=str(pre)[:200],
        )


def _among(where: str, names: list[str] | tuple[str, ...], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise FormatError(
                f"{MANIFEST}: {where}",
                expected=f"one of {', '.join(sorted(known))}",
                got=repr(name[:_MOST_NAME]),
            )


MOST_BYTES = 16 << 20


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into the bundle, in the place of an earlier one as a whole."""
    with atomic_write(bundle / MANIFEST) as part:
        part.write_text(json.dumps(to_json(manifest), indent=2) + "\n")


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest; its files are not looked at.

    Raises:
        BundleError: not a bundle, not this format, or a description that contradicts itself.
    """
    return parse_manifest(manifest_bytes(bundle), str(bundle))


def manifest_bytes(bundle: Path) -> bytes:
    """What ``manifest.json`` holds.

    Raises:
        BundleError: there is none, or it is no regular file of a reasonable size.
    """
    path = bundle / MANIFEST
    if not path.exists():
        raise BundleError(
            f"'{bundle}' is not a bundle", expected=f"a folder with {MANIFEST}", got=_got(bundle)
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
    """A manifest from its bytes.

    Args:
        data: of the file.
        bundle: named in errors.

    Raises:
        BundleError: see ``read_manifest``.
    """
    parsed = _parsed(data, bundle)
    _check_format(bundle, parsed)
    try:
        manifest = from_json(Manifest, parsed, MANIFEST)
        check_manifest(manifest)
    except FormatError as error:
        raise BundleError(f"bundle '{bundle}': {error}") from error
    return manifest


def _got(bundle: Path) -> str:
    return "a folder without" if bundle.is_dir() else "a file" if bundle.exists() else "nothing"


def _parsed(data: bytes, bundle: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(data.decode(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:  # bad text and bad JSON are ValueErrors too
        raise BundleError(f"bundle '{bundle}': {MANIFEST} is not JSON: {error}") from error
    return parsed if isinstance(parsed, dict) else {}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values under one key readers may take either."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key '{twice[:80]}' is there twice")
    return made


def _check_format(bundle: str, data: Mapping[str, Any]) -> None:
    found = data.get("format")
    if not isinstance(found, int) or isinstance(found, bool):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} has no format number")
    if found != FORMAT:
        raise BundleError(
            f"bundle '{bundle}'",
            expected=f"format {FORMAT}",
            got=f"format {str(found)[:20]}",
            do="Update this runtime." if found > FORMAT else "Make the bundle again.",
        )
