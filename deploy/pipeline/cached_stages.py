"""The stages whose results the cache keeps: the export, and the conversion of each segment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backends.acceptance import DEFAULT_RULE, AcceptanceRule
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

_EXPORT_RECORD = "exported.json"


@dataclass(frozen=True)
class _ExportRecord:
    """An ``Exported`` without its file."""

    inputs: Specs
    outputs: Specs
    marks: tuple[MarkedTensor, ...]


def export_cached(
    cache: CacheStore | None,
    name: str,
    source: Source,
    inputs: Tensors,
    out: Path,
    check: Callable[[], None] = lambda: None,
) -> tuple[Exported, bool]:
    """Export a model, or copy the export of an equal one from the cache.

    Args:
        cache: the cache, if it is on.
        name: of the model, for listings of the cache.
        source: the model.
        inputs: a sample of each input.
        out: the folder of the export; it does not exist yet.
        check: is called before the model is exported; not where the export comes from the cache.

    Returns:
        The export, and whether it came from the cache.
    """
    identity = source.identity() if cache is not None else None
    if cache is None or identity is None:
        check()
        return source.export(inputs, out), False
    parts = {**identity, "inputs": hash_tensors(inputs), "project": project_code()}

    def build() -> None:
        check()
        exported = source.export(inputs, out)
        about = to_json(_ExportRecord(exported.inputs, exported.outputs, exported.marks))
        record = {"onnx": exported.onnx.name, "about": about}
        (out / _EXPORT_RECORD).write_text(json.dumps(record, indent=2))

    from_cache = cache.fill(CacheKey("export", name, parts), out, build)
    saved = json.loads((out / _EXPORT_RECORD).read_text())
    record = from_json(_ExportRecord, saved["about"], _EXPORT_RECORD)
    exported = Exported(out / saved["onnx"], record.inputs, record.outputs, record.marks)
    return exported, from_cache


def convert_cached(
    cache: CacheStore | None,
    segment: Segment,
    backend: BackendRecipe,
    sample: Tensors,
    out: Path,
    limits: ConvertRecipe,
    rule: AcceptanceRule = DEFAULT_RULE,
) -> tuple[Converted, bool]:
    """Convert a segment, or copy the artifact of an equal one from the cache.

    A conversion that is left to the device is a copy, and is not kept.

    Args:
        cache: the cache, if it is on.
        segment: see ``convert``.
        backend: see ``convert``.
        sample: see ``convert``.
        out: the folder of the artifact; it does not exist yet.
        limits: see ``convert``.
        rule: see ``convert``.

    Returns:
        The artifact, and whether it came from the cache.
    """
    if cache is None or backend.build == "device":
        return convert(segment, backend, sample, out, limits, rule), False
    key = _conversion_key(segment, backend, sample, limits, rule)
    built: list[Converted] = []
    from_cache = cache.fill(
        key, out, lambda: built.append(convert(segment, backend, sample, out, limits, rule))
    )
    if from_cache:
        return Converted(read_artifact(out), out, sample_file(segment, sample, out)), True
    return built[0], False


def _conversion_key(
    segment: Segment,
    backend: BackendRecipe,
    sample: Tensors,
    limits: ConvertRecipe,
    rule: AcceptanceRule,
) -> CacheKey:
    description = about(backend.name)
    files = sorted(segment.onnx.parent.glob(f"{segment.onnx.name}*"))  # the graph and its weights
    parts = {
        "segment": to_json(replace(segment, onnx=Path())) | {"onnx": None},
        "files": hash_files(files),
        "backend": backend.name,
        "options": dict(checked_options(backend)),
        "precision": cast_precision(backend),
        "sample": hash_sample(segment, sample) if limits.check else None,
        "tolerances": _tolerances(segment, backend, rule) if limits.check else {},
        "versions": versions(description.convert),
        "machine": dict(description.machine(parsed_options(backend))),
        "unverified": bool(description.run_obstacle(parsed_options(backend))),
        "code": package_code(package(backend.name)),
        "project": project_code(),
    }
    return CacheKey("convert", f"{segment.name} for {backend.name}", parts)


def _tolerances(segment: Segment, backend: BackendRecipe, rule: AcceptanceRule) -> dict[str, str]:
    names = (spec.name for spec in segment.outputs)
    special = rule.special(cast_precision(backend), names)
    return {name: str(tolerance) for name, tolerance in special.items()}


def hash_sample(segment: Segment, sample: Tensors) -> Mapping[str, str]:
    """The hash of the value of each input and output of a segment, by its name."""
    names = [spec.name for spec in (*segment.inputs, *segment.outputs)]
    return hash_tensors({name: sample[name] for name in names})
