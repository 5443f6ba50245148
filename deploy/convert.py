"""Segments -> artifacts, each by its backend's own converter in a process of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.contract import Artifact, Runner, Segment, Tensors
from backends.conversion_files import write_sample
from backends.options import Value, options_json, parse_options
from backends.process.conversion import ConversionLimits, convert_in_child
from backends.registry import about, converter, loader, options_type
from deploy.recipe.schema import BackendRecipe, ConvertRecipe

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
        return Converted(defer_build(segment, backend, options, out), out, samples)
    held = samples if asked.check else None
    artifact = convert_in_child(
        segment, backend.name, options, cast_precision(backend), held, out, _limits(asked)
    )
    return Converted(artifact, out, samples)


def _limits(asked: ConvertRecipe) -> ConversionLimits:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return ConversionLimits(asked.timeout, asked.memory_gib or installed, asked.file_gib)


def sample_file(segment: Segment, sample: Tensors, out: Path) -> Path:
    """Write the reference's values of a segment's inputs and outputs beside its artifact."""
    path = out.with_name(f"{out.name}.sample.npz")
    write_sample(path, segment.inputs, segment.outputs, sample)
    return path


def cast_precision(backend: BackendRecipe) -> str:
    """The precision that a segment's graph gets; fp32 where the backend's options do it."""
    return backend.precision if about(backend.name).precisions is None else "fp32"


def defer_build(
    segment: Segment,
    backend: BackendRecipe,
    options: Mapping[str, Value],
    out: Path,
) -> Artifact:
    """Copy a segment and the weights beside it into the folder ``out``.

    The weights keep their name, for the file refers to them by it.

    Returns:
        The artifact of which the device has yet to build the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [path for path in segment.onnx.parent.glob(f"{segment.onnx.name}*") if path.is_file()]
    for path in files:
        shutil.copyfile(path, out / path.name)
    return Artifact(
        name=segment.name,
        backend=backend.name,
        files=(),
        inputs=segment.inputs,
        outputs=segment.outputs,
        precision=backend.precision,
        options=options,
        source=tuple(sorted(path.name for path in files)),
    )


def load_segment(segment: Segment, backend: BackendRecipe, folder: Path) -> Runner:
    """Convert and load a segment.

    Args:
        segment: the segment.
        backend: the engine and its options.
        folder: an existing folder that gets the engine's files.

    Raises:
        OptionError: an option that the backend does not take.
        ConversionError: this backend cannot convert the segment.
        EngineError: what it made does not load.
    """
    options = parse_options(options_type(backend.name), backend.options, backend.name)
    artifact = converter(backend.name)(segment, options, folder)
    return loader(backend.name)(artifact, folder)
