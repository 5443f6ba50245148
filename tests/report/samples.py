"""A report with every section, in which every name is hostile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deploy.report.data import (
    BlameTable,
    DetectionView,
    Environment,
    MatchedCount,
    PictureView,
    Report,
    ResultView,
    StageTime,
    TensorRow,
)
from deploy.report.pictures import data_url
from deploy.report.svg.diagram import Arrow, Box
from deploy.runtime.accuracy.evaluation import NotedScore
from deploy.runtime.latency import PartLatency

EVIL = "<script>alert('1')</script>\"&amp;"
LONG = "a_segment_with_a_name_that_has_no_place_to_break_and_goes_on_for_a_very_long_while"


def parity(step: str, good: bool, worst: bool = False) -> TensorRow:
    gap = (2e-5, 3e-4, 0.99999) if good else (float("inf"), float("inf"), -1.0)
    return TensorRow(step, "engine, fp32", EVIL, *gap, "max_rel <= 0.001", good, worst)


def detection(x: float, state: Any, other: float | None = None) -> DetectionView:
    return DetectionView((x, 10.0, x + 30.0, 50.0), 0.91, EVIL, state, other, f"M{x} 10h30v40h-30z")


def picture(**changes: Any) -> PictureView:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    expected = (detection(5, "matched", 0.9), detection(50, "missing"))
    made = PictureView(
        EVIL, 160, 120, data_url(noise), expected, (expected[0], detection(100, "extra"))
    )
    return replace(made, **changes)


def result() -> ResultView:
    address = data_url(np.zeros((4, 6, 3), np.uint8))
    return ResultView(EVIL, address, address, (f"{EVIL} 0.9", LONG), ("ant 0.8",), matched=False)


def report(**changes: Any) -> Report:
    made = Report(
        model=f"model {EVIL}",
        backends="one+two",
        job="+model=m +backend=one",
        command=f"python -m deploy +model=m 'key={EVIL}'",
        bundle=f"bundles/{LONG}",
        manifest_sha256="0" * 64,
        reference="PyTorch",
        status="failed",
        problem=f"segment '{EVIL}' does not agree with PyTorch at '{LONG}'",
        size=12_345_678,
        boxes=(
            Box("in:x", EVIL, (), "input"),
            Box("step:body", LONG, ("one, fp32", "1.0 MB in 1 file"), "segment"),
            Box("step:between", EVIL, ("host.step",), "host"),
        ),
        arrows=(Arrow("in:x", "step:body", EVIL), Arrow("step:body", "step:between", "t 1.0 kB")),
        notes=(f"border      {EVIL} to {LONG}",),
        parity=(parity("body", True), parity(LONG, False, True), parity("chain", False)),
        pictures=(picture(),),
        results=(result(),),
        agreement=MatchedCount("detections", 2, 4),
        latency=(PartLatency("body", 1.5, 2.0, 3.0, 1.6), PartLatency("total", 2.0, 2.5, 4.0, 2.1)),
        latency_runs=20,
        scores=(NotedScore("map", "boxes mAP@.5:.95", 0.5, 0.75),),
        has_dataset=True,
        pending=False,
        stages=(StageTime("export", 1.0, True),),
        environment=Environment(
            "2026-01-02 03:04:05 UTC", EVIL, LONG, 2, "3.11", {"numpy": "2.0", EVIL: "1"}
        ),
        recipe={"model.name": EVIL, "bench.runs": 20},
        blame=BlameTable(
            (f"The step with the largest effect is segment '{LONG}'.",),
            LONG,
            ("step", "own"),
            ((LONG, "BAD"),),
            (EVIL,),
        ),
    )
    return replace(made, **changes)
