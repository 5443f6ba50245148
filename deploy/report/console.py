"""What a run closes with: the table of its stages, the verdict, and where the bundle is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.precision.cast_segments import CastSummary
from deploy.report.borders import Border, borders
from deploy.report.progress import Stage, format_bytes, stage_table
from deploy.report.run_result import RunResult
from deploy.runtime.bundle.sample import PICTURE


def print_result(
    console: Console, stages: Sequence[Stage], outcome: RunResult, page: Path | None
) -> None:
    """Print the closing table, what was measured, where it is and the next command.

    Args:
        console: to print on.
        stages: of the run.
        outcome: of the run.
        page: the page that shows it, if it could be written.
    """
    bundle = display_path(outcome.bundle)
    lines = result_notes(outcome)
    lines += [_agreement(outcome), _map(outcome), _latency(outcome)]
    console.print("", stage_table(stages), "", sep="\n")
    for line in filter(None, lines):
        console.print(line, highlight=False)
    console.print(f"bundle      {bundle}", highlight=False, soft_wrap=True)
    if PICTURE in outcome.manifest.files:
        console.print(f"picture     {bundle / PICTURE}", highlight=False, soft_wrap=True)
    if page is not None:
        console.print(f"report      {display_path(page)}", highlight=False, soft_wrap=True)
    command = f"python -m deploy.runtime {'build' if outcome.pending else 'check'} {bundle}"
    where = " (on the device)" if outcome.pending else ""
    console.print(f"next        {command}{where}", highlight=False, soft_wrap=True)
    if outcome.choices:
        tune = f"python -m deploy.runtime tune {bundle}"
        console.print(f"then        {tune} (on the device)", highlight=False, soft_wrap=True)
    if outcome.verdict.problem is not None:
        print(f"error: {outcome.verdict.problem}", file=sys.stderr)


def result_notes(outcome: RunResult) -> list[str]:
    """A line for each segment that was cast, that has several engines, and for each border."""
    engines = [
        f"engines     {step} on {own}, or {' or '.join(others)}"
        for step, (own, *others) in outcome.choices.items()
    ]
    halved = map(_cast_line, outcome.halved)
    return [*halved, *engines, *map(_border, borders(outcome.manifest))]


def _cast_line(one: CastSummary) -> str:
    text = f"precision   {one.name}: {one.cast} nodes in {one.precision}"
    if one.kept:
        reasons = ", ".join(f"{count} {why}" for why, count in one.kept.items())
        text += f", in fp32: {reasons} ({display_path(one.report)})"
    return text


def _border(border: Border) -> str:
    count = len(border.tensors)
    text = f"border      {border.source} to {border.target}: {format_bytes(border.size)} in "
    text += f"{count} tensor{'s' if count > 1 else ''}"
    return f"{text}, converted: {', '.join(border.converted)}" if border.converted else text


def _agreement(outcome: RunResult) -> str:
    if outcome.pending:
        return "agreement   not measured yet: the device builds the engines"
    notes = outcome.manifest.verification.notes
    parts = [] if outcome.gap is None else [f"max_rel {outcome.gap:.1e} from {outcome.against}"]
    if "detections" in notes:
        matched, total = notes["detections_matched"], notes["detections"]
        parts.append(f"{matched:.0f} of {total:.0f} confident detections matched (from both sides)")
    if "mask_iou" in notes:
        parts.append(f"masks from IoU {notes['mask_iou']:.4f} up")
    return f"agreement   {', '.join(parts) or 'nothing to compare'}"


def _map(outcome: RunResult) -> str:
    chain, torch = outcome.verdict.chain_map, outcome.verdict.torch_map
    if chain is None or torch is None:
        return ""
    pairs = {"": (chain.boxes, torch.boxes), "masks, ": (chain.masks, torch.masks)}
    lines: list[str] = []
    for kind, (one, other) in pairs.items():
        if one is not None and other is not None:
            lines += [
                f"mAP@0.5     {kind}chain {one.at_50:.4f}, PyTorch {other.at_50:.4f}",
                f"mAP@.5:.95  {kind}chain {one.at_50_95:.4f}, PyTorch {other.at_50_95:.4f}",
            ]
    return "\n".join(lines)


def _latency(outcome: RunResult) -> str:
    latency = outcome.latency
    return f"latency     p50 {latency.p50:.1f} ms, p90 {latency.p90:.1f} ms" if latency else ""


def display_path(path: Path) -> Path:
    """Relative to the current folder where it lies in there, else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
