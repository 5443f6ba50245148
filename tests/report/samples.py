"""A report with every section, in which every name is hostile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends.acceptance import Tolerance
from backends.contract import TensorSpec
from backends.error_metrics import ErrorMetrics
from backends.handover import EngineFacts, EngineTensor
from deploy.handover.facts import (
    AgreementFacts,
    CodeFacts,
    EngineChoice,
    FileFacts,
    Handover,
    PostFacts,
    SampleFacts,
    StepFacts,
    StoredArray,
)
from deploy.handover.picture import picture_facts
from deploy.placement.record import PlacedBorder, PlacedRegion, PlacementRecord, RefusedOperator
from deploy.report.data import (
    BlameTable,
    DetectionView,
    DeviceView,
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
from deploy.runtime.benchmark.comparison import Comparison
from deploy.runtime.benchmark.machine import Machine
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.ranking import rank
from deploy.runtime.bundle.manifest import StateTensor, StepMetrics
from deploy.runtime.device_record import AlternativeLatency, DeviceRecord
from deploy.runtime.latency import PartLatency
from deploy.runtime.vision.pre import Pre

EVIL = "<script>alert('1')</script>\"&amp;"
LONG = "a_segment_with_a_name_that_has_no_place_to_break_and_goes_on_for_a_very_long_while"


MACHINE = MachineState(1.5, load=0.7, other_cores=0.1, hot_events=0)


def comparison(*rounds: tuple[float, ...], left_out: str = "") -> Comparison:
    """The measurement of jobs that had these rounds; a further job was left out."""

    def measured(row: tuple[float, ...]) -> Measurement:
        p50 = sorted(row)[len(row) // 2]
        total = PartLatency("total", p50, 1.2 * p50, 1.5 * p50, p50, 0.9 * p50)
        return Measurement((total,), row, 3 * len(row), (MACHINE,) * len(row))

    by_number = {str(number): row for number, row in enumerate(rounds)}
    return Comparison(
        {number: measured(row) for number, row in by_number.items()},
        {str(len(rounds)): left_out} if left_out else {},
        rank(by_number),
        (MACHINE,) * len(rounds[0]),
    )


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
        latency_rounds=(1.9, 2.0, 2.4),
        machine=(MACHINE,),
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


def device_views() -> tuple[DeviceView, ...]:
    """A device with every figure and hostile names, and one that was not reached."""
    parts = (PartLatency("body", 3, 4, 5, 3.1), PartLatency("total", 4, 5, 8, 4.2, 3.9))
    hot = replace(MACHINE, is_capped=True, celsius=84.0)
    record = DeviceRecord(
        device="pi",
        at="2026-01-02T03:04:05+00:00",
        machine=Machine(EVIL, "aarch64", LONG, 4, 1 << 32, "3.12", {EVIL: "1"}, "ondemand"),
        status="failed",
        gaps=(StepMetrics("chain", ErrorMetrics("y", 0.5, 0.5, 0.9)),),
        notes={"map": 0.25},
        latency=(
            AlternativeLatency("engine-fp32", parts, (3.9, 4.0, 6.0), 0.75),
            AlternativeLatency(EVIL, parts[1:], (2.0, 2.0, 2.0)),
        ),
        standing=f"fastest: {EVIL}, first in 3 of 3 rounds",
        states=(hot, hot, hot),
        problem=f"'{EVIL}' of the chain",
        left_out={"other-fp16": EVIL},
        tuned=f"{LONG} on engine-fp32, threads 2",
    )
    scores = (NotedScore("map", "boxes mAP@.5:.95", 0.25, 0.75),)
    rows = (parity("chain", False),)
    pi = DeviceView("pi", record, record.problem, rows, MatchedCount("detections", 1, 4), scores)
    return (pi, DeviceView("board", None, f"device 'board': {EVIL}"))


def region(number: int, engine: str, nodes: int, macs: int, *operators: str) -> PlacedRegion:
    counts = tuple((name, nodes // (2 + index)) for index, name in enumerate(operators))
    module = f"in module encoder.layers.{number}"
    return PlacedRegion(
        f"encoder_{number}", engine, nodes, macs, counts,
        f"{operators[0]} 'node_{operators[0].lower()}_{number}' {module}",
        f"{operators[-1]} 'node_{operators[-1].lower()}_{number}' {module}",
    )  # fmt: skip


def border(tensor: str, spec: str, size: int, ends: tuple[int, int], node: str) -> PlacedBorder:
    source, target = (f"encoder_{number}" for number in ends)
    operator = node.split()[0]
    return PlacedBorder(tensor, spec, size, source, target, node, f"ncnn has no {operator}")


def placement(**changes: Any) -> PlacementRecord:
    """A transformer encoder of text in two engines, with a mask that several regions read."""
    hidden, mask = "float32[1, 128, 384]", "float32[1, 1, 128, 128]"
    cumsum = "CumSum 'node_cumsum' in module embeddings"
    erf = "ReduceMax 'node_amax' in module encoder.layers.2.attention"
    gru = "GRU 'node_gru' in module encoder.layers.5.mixer"
    norm = "ReduceL2 'node_norm' in module pooler"
    made = PlacementRecord(
        prefer=("ncnn", "onnxruntime"),
        regions=(
            region(1, "onnxruntime", 21, 0, "Gather", "CumSum", "Where", "Add"),
            region(2, "ncnn", 96, 1_420_000_000, "MatMul", "Add", "Softmax", "LayerNormalization"),
            region(3, "onnxruntime", 5, 0, "ReduceMax", "Sub"),
            region(4, "ncnn", 144, 2_130_000_000, "MatMul", "Add", "Softmax", "Gelu"),
            region(5, "onnxruntime", 11, 226_000_000, "GRU", "Transpose", "Squeeze"),
            region(6, "ncnn", 48, 711_000_000, "MatMul", "Add", "Softmax", "Gelu"),
            region(7, "onnxruntime", 6, 147_000, "Gather", "ReduceL2", "Div"),
        ),
        borders=(
            border("hidden", hidden, 196_608, (1, 2), cumsum),
            border("mask", mask, 65_536, (1, 2), cumsum),
            border("mask", mask, 65_536, (1, 4), cumsum),
            border("mask", mask, 65_536, (1, 6), cumsum),
            border("scores", "float32[1, 6, 128, 128]", 393_216, (2, 3), erf),
            border("add_5", hidden, 196_608, (2, 4), erf),
            border("sub_1", "float32[1, 6, 128, 128]", 393_216, (3, 4), erf),
            border("layer_norm_9", hidden, 196_608, (4, 5), gru),
            border("squeeze_1", hidden, 196_608, (5, 6), gru),
            border("layer_norm_12", hidden, 196_608, (6, 7), norm),
        ),
        refused=(
            RefusedOperator("ncnn", "CumSum", "ncnn has no CumSum", 1, cumsum),
            RefusedOperator("ncnn", "ReduceMax", "ncnn has no ReduceMax", 3, erf),
            RefusedOperator(
                "ncnn", "GRU",
                "its result differs from the reference by max_rel 4.1e-01, allowed 1e-03",
                1, gru, learnt=True,
            ),
            RefusedOperator("ncnn", "ReduceL2", "ncnn has no ReduceL2", 1, norm),
            RefusedOperator(
                "ncnn", "Squeeze", "in a region of 3 nodes, which is less than min_nodes=4", 2,
                "Squeeze 'node_squeeze' in module encoder.layers.5.mixer",
            ),
        ),
        notes=("the input 'attention_mask' has a dynamic axis, which ncnn converts as 128",),
        trials=9,
        seconds=41.3,
    )  # fmt: skip
    return replace(made, **changes)


def long_placement(regions: int = 24) -> PlacementRecord:
    """Two engines by turns, residual tensors over each third segment, and hostile names."""
    engines = ("ncnn", "onnxruntime")
    spec = "float32[1, 256, 200, 304]"
    node = f"CumSum '{EVIL}' in module {LONG}"
    near = [
        border(f"tensor_{number}", spec, 62_259_200, (number, number + 1), node)
        for number in range(1, regions)
    ]
    far = [
        border(f"{LONG}.{number}", spec, 62_259_200, (number, number + 3), node)
        for number in range(1, regions - 3, 3)
    ]
    return PlacementRecord(
        prefer=engines,
        regions=tuple(
            region(number, engines[number % 2], 10 * number, 10**7 * number, "MatMul", EVIL)
            for number in range(1, regions + 1)
        ),
        borders=(*near, *far, border(EVIL, spec, 1, (1, regions), EVIL)),
        refused=(RefusedOperator("ncnn", EVIL, f"{EVIL} {LONG}", 12, node),),
        notes=(f"a note on {EVIL}",),
        trials=64,
        seconds=600.0,
        complete=False,
    )


def handover() -> Handover:
    """Of a chain with an engine and a host step, in which names are hostile."""
    image, maps = (TensorSpec(name, "float32", (1, 3, 640, 640)) for name in ("image", LONG))
    boxes, file = TensorSpec(EVIL, "int64", (100, 4)), FileFacts(f"net/{LONG}", "0" * 64, 12_345)
    called = [
        EngineTensor(spec.name, "in0", (1, 3, 640, 640), 0, {"dims": 3, "w": 640, "cstep": 409600})
        for spec in (image, maps)
    ]
    engine = EngineFacts(
        f"an engine {EVIL}", {file.file: "the net"}, {"use_half": False}, 2, "row by row",
        (called[0],), (called[1],), (EVIL, LONG), "C++", ("int main()", f"// {LONG} {LONG} {EVIL}"),
    )  # fmt: skip
    code = CodeFacts(EVIL, {LONG: [1.5] * 200, "size": 3}, {"size": 4}, (f"``size`` {EVIL}", LONG))
    pre = Pre("image", 640, 640, (0.0,) * 3, (255.0,) * 3)
    return Handover(
        model="model",
        classes=(EVIL,),
        inputs=(image,),
        outputs=(boxes,),
        picture=picture_facts(pre, (image,)),
        text=code,
        state=(StateTensor(LONG, EVIL),),
        initial_state=(),
        steps=(
            StepFacts("net", "engine", (image,), (maps,), engines=(EngineChoice(
                EVIL, "fp32", (file,), engine, pending=True),)),
            StepFacts("own", "host", (maps,), (boxes,), code=code, calls=("net",)),
        ),
        rules=(LONG,),
        post=PostFacts("post", inputs=(EVIL,), result="Boxes", placing=(LONG,)),
        sample=SampleFacts(file, (StoredArray(EVIL, LONG, 193, 4800, "float32", (1, 3)),)),
        agreement=AgreementFacts({EVIL: Tolerance(1e-3, 0.9999)}, ("max_rel",), ("results",)),
        tools={},
    )  # fmt: skip
