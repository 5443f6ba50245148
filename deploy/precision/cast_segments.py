"""The precision stage: cast the segments whose recipe asks for half precision."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from backends.contract import Segment, Tensors
from deploy.convert import cast_precision
from deploy.precision.cast_to_half import cast_to_half, requests_per_segment
from deploy.precision.definitions import CastRequest, CastResult
from deploy.recipe.schema import BackendRecipe, Recipe, RecipeError

_HALF_PRECISIONS: Mapping[str, Literal["fp16", "bf16"]] = {"fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class CastSummary:
    """A cast segment, for people.

    Attributes:
        name: the segment's name.
        precision: the precision that it computes in.
        cast: the number of nodes in that precision.
        kept: the number of nodes that stay in fp32, by reason.
        report: the JSON file that lists the nodes that stay in fp32.
    """

    name: str
    precision: str
    cast: int
    kept: Mapping[str, int]
    report: Path


def cast_segments(
    recipe: Recipe, segments: Sequence[Segment], values: Tensors, out: Path
) -> tuple[list[Segment], list[CastSummary]]:
    """Cast the segments whose recipe asks for half precision; the others are not changed.

    Args:
        recipe: the recipe.
        segments: the segments in fp32.
        values: the reference's value of each of their inputs, for calibration.
        out: the folder for the cast segments and their reports.

    Returns:
        All segments in their order, and a summary of each that was cast.

    Raises:
        RecipeError: the recipe names no backend for calibration.
        PrecisionError: see ``cast_to_half``.
    """
    requests = _cast_requests(recipe, segments)
    results = {
        segment.name: cast_to_half(
            segment, requests[segment.name], values, _calibration_backend(recipe), out
        )
        for segment in segments
        if segment.name in requests
    }
    summaries = [
        _summarize(name, requests[name].precision, result, out) for name, result in results.items()
    ]
    return [
        results[segment.name].segment if segment.name in results else segment
        for segment in segments
    ], summaries


def _cast_requests(recipe: Recipe, segments: Sequence[Segment]) -> dict[str, CastRequest]:
    """The request for each segment to cast, by the segment's name."""
    shared = [segment for segment in segments if segment.name not in recipe.chain]
    groups = [(recipe.backend, shared)]
    groups += [
        (recipe.chain[segment.name], [segment])
        for segment in segments
        if segment.name in recipe.chain
    ]
    requests: dict[str, CastRequest] = {}
    for backend, group in groups:
        if group and cast_precision(backend) != "fp32":
            requests |= requests_per_segment(_cast_request(backend), group)
    return requests


def _cast_request(backend: BackendRecipe) -> CastRequest:
    options = backend.cast
    precision = _HALF_PRECISIONS[backend.precision]
    return CastRequest(precision, options.io, tuple(options.keep_ops), tuple(options.keep_nodes))


def _calibration_backend(recipe: Recipe) -> BackendRecipe:
    if recipe.precision.measure is None:
        raise RecipeError(
            "precision.measure",
            expected="a backend that runs segments in fp32",
            got="none",
            do="Pass precision.measure.name=NAME.",
        )
    return recipe.precision.measure


def _summarize(name: str, precision: str, result: CastResult, out: Path) -> CastSummary:
    """Write the report of the kept nodes, and count them by reason."""
    report = out / f"{name}.kept.json"
    report.write_text(json.dumps([asdict(kept) for kept in result.kept], indent=2) + "\n")
    reasons = Counter(kept.why.partition(":")[0].partition(" (")[0] for kept in result.kept)
    return CastSummary(name, precision, result.cast, dict(reasons), report)
