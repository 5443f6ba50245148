"""Segment -> artifact, by the backend's converter in a child process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.acceptance import DEFAULT_RULE, AcceptanceRule
from backends.contract import Artifact, Runner, Segment, Tensors
from backends.conversion_files import write_sample
from backends.files import temporary_folder
from backends.options import Value, options_json, parse_options
from backends.process.conversion import ConversionLimits, convert_in_child
from backends.registry import about, converter, loader, options_type
from backends.support import Support
from deploy.recipe.schema import BackendRecipe, ConvertRecipe

_GIB = 1 << 30


@dataclass(frozen=True)
class Converted:
    """A converted segment.

    Attributes:
        artifact: its description.
        root: the folder that the artifact's files are relative to.
        sample: the npz file with the reference's value of every input and output.
        support: what the engine's own parser says of a segment that the device is to convert.
    """

    artifact: Artifact
    root: Path
    sample: Path
    support: Support | None = None


def checked_options(backend: BackendRecipe) -> Mapping[str, Value]:
    """The backend's options with their defaults, as JSON values.

    A precision that the backend sets by options of its own is among them.

    Raises:
        OptionError: an option or value that the backend does not have.
    """
    return options_json(parsed_options(backend))


def parsed_options(backend: BackendRecipe) -> Any:
    """The same options as the backend's dataclass."""
    by_precision = about(backend.name).precisions or {}
    options = {**backend.options, **by_precision.get(backend.precision, {})}
    return parse_options(options_type(backend.name), options, backend.name)


def convert(
    segment: Segment,
    backend: BackendRecipe,
    sample: Tensors,
    out: Path,
    limits: ConvertRecipe,
    rule: AcceptanceRule = DEFAULT_RULE,
) -> Converted:
    """Convert one segment, or copy it for the device to convert.

    Args:
        segment: in its final precision.
        backend: the backend and its options.
        sample: the reference's value of every input and output of the segment.
        out: the folder of the artifact; its sample and log are written beside it.
        limits: of the conversion, and whether the result is compared with the sample.
        rule: what counts as agreement with the sample.

    Raises:
        ConversionError: see ``convert_in_child``.
    """
    samples = sample_file(segment, sample, out)
    options = checked_options(backend)
    if backend.build == "device":
        ask = about(backend.name).support
        support = ask(segment, parsed_options(backend)) if ask is not None else None
        return Converted(defer_build(segment, backend, options, out), out, samples, support)
    compared = samples if limits.check else None
    artifact = convert_in_child(
        segment,
        backend.name,
        options,
        cast_precision(backend),
        compared,
        out,
        _limits(limits),
        rule,
    )
    return Converted(artifact, out, samples)


def _limits(recipe: ConvertRecipe) -> ConversionLimits:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    return ConversionLimits(recipe.timeout, recipe.memory_gib or installed, recipe.file_gib)


def sample_file(segment: Segment, sample: Tensors, out: Path) -> Path:
    """Write the reference's values of a segment's inputs and outputs as npz beside its artifact."""
    path = out.with_name(f"{out.name}.sample.npz")
    write_sample(path, segment.inputs, segment.outputs, sample)
    return path


def cast_precision(backend: BackendRecipe) -> str:
    """The precision that a segment's graph is cast to; fp32 where the backend casts by options."""
    return backend.precision if about(backend.name).precisions is None else "fp32"


def defer_build(
    segment: Segment,
    backend: BackendRecipe,
    options: Mapping[str, Value],
    out: Path,
) -> Artifact:
    """Copy a segment and its weights into the folder ``out``, for the device to convert.

    The weights keep their name, by which the ONNX file refers to them.

    Returns:
        A pending artifact: it has a source and no files.
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


def convert_here(segment: Segment, backend: BackendRecipe, folder: Path) -> Artifact:
    """Convert a segment in this process, unchecked.

    Args:
        segment: in fp32.
        backend: the backend and its options.
        folder: gets the files of the artifact.

    Raises:
        OptionError: an option that the backend does not have.
        ConversionError: the backend cannot convert the segment.
    """
    options = parse_options(options_type(backend.name), backend.options, backend.name)
    folder.mkdir(parents=True, exist_ok=True)
    if about(backend.name).functions:
        return converter(backend.name)(segment, options, folder)
    from backends.onnx.functions import segment_without_functions  # a device has no onnx

    with temporary_folder() as scratch:
        taken = segment_without_functions(segment, scratch)
        return converter(backend.name)(taken, options, folder)


def load_segment(segment: Segment, backend: BackendRecipe, folder: Path) -> Runner:
    """Convert and load a segment in this process, unchecked; see ``convert_here``.

    Raises:
        EngineError: the artifact does not load.
    """
    artifact = convert_here(segment, backend, folder)
    return loader(artifact.backend)(artifact, folder)
