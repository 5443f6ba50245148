"""Reports of cases, added up."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime

from tests.cutsuite.suite import AT_ONCE, Report


def table(reports: Sequence[Report]) -> str:
    """The closing table."""
    rows = (f"| {what} | {value} |" for what, value in _rows(reports))
    return "\n".join(["| what | found |", "|---|---|", *rows])


def versions() -> dict[str, str]:
    """What it was run with."""
    modules = (np, onnx, onnx_ir, onnxruntime)
    found = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), **found}


def write_json(path: Path, reports: Sequence[Any], about: dict[str, object]) -> None:
    """Everything, for programs."""
    models = [asdict(report) for report in reports]
    path.write_text(json.dumps({**about, "versions": versions(), "models": models}, indent=1))


def _rows(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
    used = [report for report in reports if not report.left_out]
    yield "models looked at", f"{len(reports):,}"
    for why, count in Counter(r.left_out for r in reports if r.left_out).most_common():
        yield f"left out: {why}", f"{count:,}"
    for kind, count in Counter(report.kind for report in used).items():
        yield f"used, {kind}", f"{count:,}"
    cuts, refused = sum(r.cuts for r in used), sum(r.refused for r in used)
    yield "cuts", f"{cuts:,}"
    yield "refused by name: no tensor, or of unknown type, at a border", f"{refused:,}"
    made = cuts - refused
    yield "bit-equal in every form", f"{sum(r.equal for r in used):,} of {made:,}"
    yield "fp16, within 1e-3", f"{sum(r.within for r in used):,} of {made:,}"
    many = [report for report in used if report.parts]
    sound = sum(AT_ONCE not in report.failed for report in many)
    yield "chains cut at all positions at once", f"{sound:,} of {len(many):,}"
    yield "failed", f"{sum(len(r.failed) for r in used):,}"
    yield "models cut with their open sizes too", f"{sum(r.open_sizes for r in used):,}"
    for report in used:
        if report.half:
            gap = f"{report.within} of {report.cuts} not bit-equal, largest gap {report.gap:.2g}"
            yield f"fp16: {report.name}", gap
    yield "every cut refused", _names(r for r in used if r.refused == r.cuts)
    blind = (r for r in used if not r.control and r.refused < r.cuts)
    yield "uninformative: no change at a border shows", _names(blind)


def _names(reports: Iterator[Report]) -> str:
    return ", ".join(report.name for report in reports) or "none"
