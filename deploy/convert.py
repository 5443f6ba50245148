"""Segments -> artifacts, each by its backend's own converter in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.child import Allowance, convert_in_child
from backends.contract import Artifact, Segment, Tensors
from backends.options import Value, options_json, parse_options
from backends.registry import about, options_type
from deploy.carrying import carry
from deploy.recipe import BackendRecipe, ConvertRecipe
from deploy.samples import write_sample

_GIB = 1 << 30


@dataclass(frozen=True)
class Converted:
    """An artifact, the folder that its files are relative to, and its segment's sample."""

    artifact: Artifact
    root: Path
    sample: Path


def checked_options(backend: BackendRecipe) -> Mapping[str, Value]:
    """The backend's options, complete and typed, also those that stand for a precision.

    Raises:
        OptionError: an option or value that the backend does not take.
    """
    return options_json(parsed_options(backend))


def parsed_options(backend: BackendRecipe) -> Any:
    """The same as the backend's own dataclass."""
    own = about(backend.name).precisions or {}
    given = {**backend.options, **own.get(backend.precision, {})}
    return parse_options(options_type(backend.name), given, backend.name)


def convert(
    segment: Segment, backend: BackendRecipe, sample: Tensors, out: Path, asked: ConvertRecipe
) -> Converted:
    """Convert one segment, or leave that to the device.

    Args:
        segment: what to convert.
        backend: the backend and its options.
        sample: the reference's values of every input and output of the segment.
        out: the folder of the artifact; its sample and log are written beside it.
        asked: its limits.

    Raises:
        ConversionError: see ``convert_in_child``.
    """
    samples = sample_file(segment, sample, out)
    options = checked_options(backend)
    if backend.build == "device":
        return Converted(carry(segment, backend, options, out), out, samples)
    held = samples if asked.check else None
    artifact = convert_in_child(
        segment, backend.name, options, cast_precision(backend), held, out, _allowance(asked)
    )
    return Converted(artifact, out, samples)


def _allowance(asked: ConvertRecipe) -> Allowance:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return Allowance(asked.timeout, asked.memory_gib or installed, asked.file_gib)


def sample_file(segment: Segment, sample: Tensors, out: Path) -> Path:
    """Write the reference's values of a segment's inputs and outputs beside its artifact."""
    path = out.with_name(f"{out.name}.sample.npz")
    write_sample(path, segment.inputs, segment.outputs, sample)
    return path


def cast_precision(backend: BackendRecipe) -> str:
    """The precision that a segment's graph gets; fp32 where the backend's options do it."""
    return backend.precision if about(backend.name).precisions is None else "fp32"
