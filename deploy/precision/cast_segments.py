"""The precision stage: the segments that compute in half precision, cast."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from backends.contract import Segment, Tensors
from deploy.convert import cast_precision
from deploy.precision.cast import cast_segment, requests_per_segment
from deploy.precision.definitions import CastRequest, CastResult
from deploy.recipe.schema import BackendRecipe, Recipe, RecipeError

_HALVES: Mapping[str, Literal["fp16", "bf16"]] = {"fp16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class CastSummary:
    """A segment that was cast.

    Attributes:
        name: the segment's.
        precision: what it computes in.
        cast: how many nodes do.
        kept: how many stay in fp32, for each reason.
        report: the file that lists these nodes.
    """

    name: str
    precision: str
    cast: int
    kept: Mapping[str, int]
    report: Path


def cast_segments(
    recipe: Recipe, segments: Sequence[Segment], values: Tensors, out: Path
) -> tuple[list[Segment], list[CastSummary]]:
    """Cast the segments whose recipe asks for it; the others stay as they are.

    Args:
        recipe: the recipe.
        segments: in fp32.
        values: the reference's value of each of their inputs.
        out: the folder for the cast files, and for what stays in fp32 in each.

    Raises:
        RecipeError: no engine is named that finds what half precision cannot hold.
        PrecisionError: see ``cast_segment``.
    """
    asked = _asked(recipe, segments)
    found = {
        segment.name: cast_segment(segment, asked[segment.name], values, _engine(recipe), out)
        for segment in segments
        if segment.name in asked
    }
    castings = [
        _noted(name, asked[name].precision, casting, out) for name, casting in found.items()
    ]
    return [_after(segment, found) for segment in segments], castings


def _after(segment: Segment, found: Mapping[str, CastResult]) -> Segment:
    return found[segment.name].segment if segment.name in found else segment


def _asked(recipe: Recipe, segments: Sequence[Segment]) -> dict[str, CastRequest]:
    """What is asked for each segment to be cast."""
    shared = [segment for segment in segments if segment.name not in recipe.chain]
    groups = [(recipe.backend, shared)]
    groups += [
        (recipe.chain[segment.name], [segment])
        for segment in segments
        if segment.name in recipe.chain
    ]
    asked: dict[str, CastRequest] = {}
    for backend, group in groups:
        if group and cast_precision(backend) != "fp32":
            asked |= requests_per_segment(_as_cast(backend), group)
    return asked


def _as_cast(backend: BackendRecipe) -> CastRequest:
    wanted = backend.cast
    half = _HALVES[backend.precision]
    return CastRequest(half, wanted.io, tuple(wanted.keep_ops), tuple(wanted.keep_nodes))


def _engine(recipe: Recipe) -> BackendRecipe:
    if recipe.precision.measure is None:
        raise RecipeError(
            "precision.measure",
            expected="a backend that runs segments in fp32",
            got="none",
            do="Pass precision.measure.name=NAME.",
        )
    return recipe.precision.measure


def _noted(name: str, precision: str, casting: CastResult, out: Path) -> CastSummary:
    report = out / f"{name}.kept.json"
    report.write_text(json.dumps([asdict(kept) for kept in casting.kept], indent=2) + "\n")
    reasons = Counter(kept.why.partition(":")[0].partition(" (")[0] for kept in casting.kept)
    return CastSummary(name, precision, casting.cast, dict(reasons), report)
