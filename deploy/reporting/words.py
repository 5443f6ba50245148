"""What the pages say beside numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploy.reporting.contents import Report

WORDS: Mapping[str, str] = {
    "passed": "\N{CHECK MARK} passed",
    "failed": "\N{BALLOT X} failed",
    "not run": "\N{WHITE CIRCLE} not measured",
    "within": "\N{CHECK MARK} within",
    "beyond": "\N{BALLOT X} beyond",
    "PyTorch": "mAP of PyTorch",
    "PyTorch masks": "mask mAP of PyTorch",
}
"""Verdicts, readable without their colours; and what the scores of a sweep are."""

_PARTS = {
    "decode": "picture file to pixels",
    "pre": "pixels to tensor",
    "chain": "between the steps",
    "post": "tensors to detections",
}


def about(part: str, report: Report) -> str:
    """What a part of the latency is: where a step runs, or what is around the steps."""
    steps = {box.title: box.lines[0] for box in report.boxes if box.key == f"step:{part}"}
    return steps.get(part) or _PARTS.get(part, "")


def absent(report: Report) -> list[tuple[str, str]]:
    """What the page has not, each with how to get it."""
    return list(_absent(report))


def _absent(report: Report) -> Iterator[tuple[str, str]]:
    if report.pending:
        finish = f"python -m deploy.runtime finish {report.bundle}"
        yield "Numbers", f"the device builds and verifies its own engines there: {finish}"
        return
    if not report.latency:
        yield "Latency", "bench.runs is 0; bench.runs=20 on the command line takes it"
    if not report.means and report.evaluable:
        yield "mAP", "verify.eval is false; verify.eval=true on the command line evaluates both"
    if report.parity and report.blame is None:
        blame = f"python -m deploy.blame {report.bundle}"
        yield "Blame", f"which step adds what to the error: {blame}"
