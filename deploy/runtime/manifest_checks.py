"""What a manifest must be beyond the types of its fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from backends.codec import FormatError
from backends.contract import Artifact, Dim, Dynamic, Specs, TensorSpec
from backends.files import name_fault
from backends.gap import TOLERANCES
from deploy.runtime.host import HostStep
from deploy.runtime.image import Pre
from deploy.runtime.manifest import MANIFEST, SIGNATURE, Kind, Manifest, called

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
    _among("what a host step calls", sorted(called(manifest)), engines)


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
