"""The stages that are kept: the export of a model, and the conversion of each segment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends.codec import from_json, to_json
from backends.contract import Segment, Specs, Tensors
from backends.conversion_files import read_artifact
from backends.registry import about, package
from deploy.convert import (
    Converted,
    cast_precision,
    checked_options,
    convert,
    parsed_options,
    sample_file,
)
from deploy.export.fingerprint import (
    CacheKey,
    hash_files,
    hash_tensors,
    package_code,
    project_code,
    versions,
)
from deploy.export.source import Source
from deploy.graph.exported import Exported
from deploy.graph.points import MarkedTensor
from deploy.pipeline.cache_store import CacheStore
from deploy.recipe.schema import BackendRecipe, ConvertRecipe

_EXPORTED = "exported.json"


@dataclass(frozen=True)
class _About:
    """An ``Exported`` but for its file."""

    inputs: Specs
    outputs: Specs
    marks: tuple[MarkedTensor, ...]


def export_once(
    store: CacheStore | None, name: str, source: Source, inputs: Tensors, out: Path
) -> tuple[Exported, bool]:
    """Export a model, or take what an equal one gave; and whether it was taken.

    Args:
        store: the cache, if there is one.
        name: of the model, for people.
        source: the model.
        inputs: a sample of each input.
        out: the folder.
    """
    identity = source.identity() if store is not None else None
    if store is None or identity is None:
        return source.export(inputs, out), False
    parts = {**identity, "inputs": hash_tensors(inputs), "project": project_code()}

    def build() -> None:
        made = source.export(inputs, out)
        about = to_json(_About(made.inputs, made.outputs, made.marks))
        (out / _EXPORTED).write_text(json.dumps({"onnx": made.onnx.name, "about": about}, indent=2))

    kept = store.fill(CacheKey("export", name, parts), out, build)
    found = json.loads((out / _EXPORTED).read_text())
    about = from_json(_About, found["about"], _EXPORTED)
    return Exported(out / found["onnx"], about.inputs, about.outputs, about.marks), kept


def convert_once(
    store: CacheStore | None,
    segment: Segment,
    backend: BackendRecipe,
    sample: Tensors,
    out: Path,
    asked: ConvertRecipe,
) -> tuple[Converted, bool]:
    """Convert a segment, or take what an equal one gave; and whether it was taken.

    Args:
        store: the cache, if there is one.
        segment: as of ``convert``.
        backend: likewise.
        sample: likewise.
        out: likewise; it does not exist yet.
        asked: likewise.
    """
    if store is None or backend.build == "device":
        return convert(segment, backend, sample, out, asked), False
    files = sorted(segment.onnx.parent.glob(f"{segment.onnx.name}*"))  # its weights lie beside it
    parts = {
        "segment": to_json(replace(segment, onnx=Path())) | {"onnx": None},
        "files": hash_files(files),
        "backend": backend.name,
        "options": dict(checked_options(backend)),
        "precision": cast_precision(backend),
        "sample": _sample(segment, sample) if asked.check else None,
        "versions": versions(about(backend.name).convert),
        "machine": dict(about(backend.name).machine(parsed_options(backend))),
        "code": package_code(package(backend.name)),
        "project": project_code(),
    }
    subject = f"{segment.name} for {backend.name}"
    made: list[Converted] = []
    kept = store.fill(
        CacheKey("convert", subject, parts),
        out,
        lambda: made.append(convert(segment, backend, sample, out, asked)),
    )
    if kept:
        made = [Converted(read_artifact(out), out, sample_file(segment, sample, out))]
    return made[0], kept


def _sample(segment: Segment, sample: Tensors) -> Mapping[str, str]:
    names = [spec.name for spec in (*segment.inputs, *segment.outputs)]
    return hash_tensors({name: sample[name] for name in names})
