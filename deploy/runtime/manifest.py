"""What a bundle is made of, how it was made, and how far it is from PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from backends.codec import FormatError, from_json, to_json
from backends.contract import Artifact, DeployError, Specs
from backends.gap import Gap
from deploy.runtime.host import HostStep
from deploy.runtime.image import Pre

MANIFEST = "manifest.json"
FORMAT = 1


class BundleError(DeployError):
    """A bundle that is missing, damaged, of a newer format, or not one at all."""


@dataclass(frozen=True)
class FileEntry:
    """The SHA-256 (hex) and the size in bytes of a file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class PostStep:
    """The host step after the chain: a registered id, the tensors it takes, its parameters."""

    id: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class StepGap:
    """The gap of one tensor of a step, or of the whole chain (step ``chain``)."""

    step: str
    gap: Gap


@dataclass(frozen=True)
class Verification:
    """What was measured against PyTorch on the desk.

    Attributes:
        status: whether all gaps are within the tolerances of their precisions.
        gaps: of every output of every step, then of the chain.
        notes: further figures: detections matched, mAP of both.
    """

    status: Literal["passed", "failed", "not run"]
    gaps: tuple[StepGap, ...] = ()
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
    format: int = FORMAT


def called(manifest: Manifest) -> set[str]:
    """The engine steps that host steps run themselves."""
    return {name for host in manifest.host for name in host.calls}


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into the bundle, in the place of an earlier one as a whole."""
    part = bundle / f".{MANIFEST}.part"
    part.write_text(json.dumps(to_json(manifest), indent=2) + "\n")
    part.replace(bundle / MANIFEST)


def file_entry(path: Path) -> FileEntry:
    """The hash and size of a file."""
    with path.open("rb") as file:
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest; its files are not looked at.

    Raises:
        BundleError: not a bundle, not this format, or a description that contradicts itself.
    """
    data = _load(bundle)
    _check_format(bundle, data)
    try:
        manifest = from_json(Manifest, data, MANIFEST)
    except FormatError as error:
        raise BundleError(f"bundle '{bundle}': {error}") from error
    _check_files(bundle, manifest)
    _check_steps(bundle, manifest)
    return manifest


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Compare files with the manifest.

    Raises:
        BundleError: a file is missing, of another size, or changed.
    """
    for name in names:
        entry, path = manifest.files[name], bundle / name
        if not path.is_file():
            raise BundleError(f"bundle '{bundle}': file '{name}' is missing")
        size = path.stat().st_size
        if size != entry.size:
            raise BundleError(
                f"bundle '{bundle}': file '{name}'",
                expected=f"{entry.size} bytes",
                got=str(size),
                do="Copy the bundle again.",
            )
        digest = file_entry(path).sha256
        if digest != entry.sha256:
            raise BundleError(
                f"bundle '{bundle}': file '{name}' was changed",
                expected=f"SHA-256 {entry.sha256}",
                got=digest,
                do="Copy the bundle again.",
            )


def _load(bundle: Path) -> Mapping[str, Any]:
    path = bundle / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"'{bundle}' is not a bundle",
            expected=f"a folder with {MANIFEST}",
            got="a folder without"
            if bundle.is_dir()
            else "a file"
            if bundle.exists()
            else "nothing",
        )
    try:
        data = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"bundle '{bundle}': {MANIFEST} is not JSON: {error}") from error
    return data if isinstance(data, dict) else {}


def _check_format(bundle: Path, data: Mapping[str, Any]) -> None:
    found = data.get("format")
    if not isinstance(found, int) or isinstance(found, bool):
        raise BundleError(f"bundle '{bundle}': {MANIFEST} has no format number")
    if found != FORMAT:
        raise BundleError(
            f"bundle '{bundle}'",
            expected=f"format {FORMAT}",
            got=f"format {found}",
            do="Update this runtime." if found > FORMAT else "Make the bundle again.",
        )


def _check_files(bundle: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise BundleError(
                f"bundle '{bundle}'", expected="files inside the bundle", got=repr(name)
            )
    for name in _used_files(manifest):
        if name not in manifest.files:
            raise BundleError(f"bundle '{bundle}': file '{name}' is used, but not listed in files")


def _check_steps(bundle: Path, manifest: Manifest) -> None:
    engines = {step.name for step in manifest.steps}
    names = [step.name for step in manifest.steps] + [step.name for step in manifest.host]
    for name in names:
        if names.count(name) > 1:
            raise BundleError(f"bundle '{bundle}': two steps are called '{name}'")
    for name in called(manifest):
        if name not in engines:
            raise BundleError(
                f"bundle '{bundle}': a host step calls '{name}'",
                expected=f"one of {', '.join(sorted(engines))}",
                got=repr(name),
            )


def _used_files(manifest: Manifest) -> Sequence[str]:
    used = [name for step in manifest.steps for name in (*step.files, *step.source)]
    return [*used, manifest.sample] if manifest.sample else used
