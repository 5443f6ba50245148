"""The data of a report: the content of ``report.json``, from which the page is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deploy.handover.facts import Handover
from deploy.placement.record import PlacementRecord
from deploy.report.svg.diagram import Arrow, Box
from deploy.runtime.accuracy.evaluation import NotedScore
from deploy.runtime.benchmark.machine_state import MachineState
from deploy.runtime.device_record import DeviceRecord
from deploy.runtime.latency import PartLatency

FORMAT = 4
"""Of ``report.json``; a file of another format is refused."""

MatchState = Literal["matched", "missing", "extra"]
"""Of a detection: in both models, in the reference only, or in the chain only."""


@dataclass(frozen=True)
class TensorRow:
    """The errors of one tensor of a step against the reference.

    Attributes:
        step: the step's name, or ``chain``.
        runs_on: the backend and the precision; ``host`` for a host step.
        tensor: its name.
        max_abs: largest absolute error.
        max_rel: ``max_abs`` over the largest magnitude of the reference.
        cosine: cosine similarity.
        tolerance: the bounds of the errors, for people.
        within_tolerance: whether the errors are within the tolerance.
        worst: whether this row uses the largest share of its tolerance.
    """

    step: str
    runs_on: str
    tensor: str
    max_abs: float
    max_rel: float
    cosine: float
    tolerance: str
    within_tolerance: bool
    worst: bool = False


@dataclass(frozen=True)
class DetectionView:
    """One detection.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture.
        score: from 0 to 1.
        class_name: of its label.
        state: whether the other model has it too.
        partner_score: the score of the other model's detection, if it is matched.
        mask_path: its mask as the path of an SVG; empty where there are no masks.
    """

    box: tuple[float, float, float, float]
    score: float
    class_name: str
    state: MatchState
    partner_score: float | None = None
    mask_path: str = ""


@dataclass(frozen=True)
class PictureView:
    """One picture, and the confident detections of both models in it.

    Attributes:
        file_name: of the picture.
        width: of the picture in pixels.
        height: of the picture in pixels.
        data_url: the picture, scaled down.
        reference: detections of the reference.
        chain: detections of the chain.
    """

    file_name: str
    width: int
    height: int
    data_url: str
    reference: tuple[DetectionView, ...]
    chain: tuple[DetectionView, ...]


@dataclass(frozen=True)
class ResultView:
    """One picture or input with the results of both models, where these are no detections in it.

    Attributes:
        file_name: of the picture; or which input.
        reference: the picture with the reference's result drawn onto it, as a ``data:`` address;
            empty where there is no picture.
        chain: likewise with the chain's result.
        reference_lines: the reference's result in words.
        chain_lines: likewise of the chain's.
        matched: whether all that the two say is the same.
    """

    file_name: str
    reference: str
    chain: str
    reference_lines: tuple[str, ...]
    chain_lines: tuple[str, ...]
    matched: bool


@dataclass(frozen=True)
class MatchedCount:
    """How many parts of the results of two models match; ``noun`` is what was counted."""

    noun: str
    matched: int
    total: int


@dataclass(frozen=True)
class BlameTable:
    """The result of accuracy debugging.

    Attributes:
        findings: sentences; the first names the culprit.
        culprit: the step with the largest error beyond its bound; empty where there is none.
        header: titles of the columns.
        rows: cells of each row.
        operator: lines about the operator that the search within a segment found.
    """

    findings: tuple[str, ...]
    culprit: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    operator: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """The machine and the tools of a run.

    Attributes:
        created: the time, UTC.
        system: the operating system.
        processor: its name.
        cores: logical cores.
        python: its version.
        tools: distribution to version.
    """

    created: str
    system: str
    processor: str
    cores: int
    python: str
    tools: Mapping[str, str]


@dataclass(frozen=True)
class StageTime:
    """A stage of the run: its seconds, and whether its result came from the cache."""

    name: str
    seconds: float
    from_cache: bool


@dataclass(frozen=True)
class DeviceView:
    """What became of the bundle on a device.

    Attributes:
        name: of the device.
        record: what was measured there; None where nothing could be.
        problem: why not, or what does not agree; empty where all is well.
        parity: every tensor that was compared there.
        agreement: how many of the results' parts are the same; None where there are no results.
        scores: of the evaluation there; empty where there was none.
    """

    name: str
    record: DeviceRecord | None
    problem: str = ""
    parity: tuple[TensorRow, ...] = ()
    agreement: MatchedCount | None = None
    scores: tuple[NotedScore, ...] = ()


@dataclass(frozen=True)
class Report:
    """The report of a run.

    Attributes:
        model: its name.
        backends: such as ``a+b``.
        job: the overrides of the command line.
        command: the command line, quoted for a shell.
        bundle: its path.
        manifest_sha256: of the bundle's manifest.
        reference: what the bundle was compared with, such as ``PyTorch``.
        status: of the verification.
        problem: the first violation of a tolerance; empty where there is none.
        size: bytes of the files of the steps.
        boxes: of the diagram of the chain.
        arrows: of the diagram of the chain.
        notes: lines about casts, alternatives and boundaries.
        parity: every tensor that was compared.
        pictures: those that detections were compared on.
        results: the results that are no detections.
        agreement: how many of the results' parts are the same; None where there are no results.
        latency: of every part, the total last; empty where it was not measured.
        latency_runs: how many calls were measured.
        scores: of the evaluation on a data set, the most important one first; empty where there was
            none.
        has_dataset: whether the model has a data set to be evaluated on.
        pending: whether the device has yet to build or verify engines.
        stages: of the run.
        environment: where and when the run was.
        recipe: every value of the recipe by its key.
        blame: the result of accuracy debugging, if it was run later.
        latency_rounds: the p50 of the total in each round, in milliseconds.
        machine: the machine in each round.
        placement: how the model was divided between engines, if the planner did that.
        handover: what an app needs, where an engine of the bundle is one of apps.
        devices: what became of the bundle on each device.
        format: of this description.
    """

    model: str
    backends: str
    job: str
    command: str
    bundle: str
    manifest_sha256: str
    reference: str
    status: Literal["passed", "failed", "pending", "not run"]
    problem: str
    size: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[str, ...]
    parity: tuple[TensorRow, ...]
    pictures: tuple[PictureView, ...]
    results: tuple[ResultView, ...]
    agreement: MatchedCount | None
    latency: tuple[PartLatency, ...]
    latency_runs: int
    scores: tuple[NotedScore, ...]
    has_dataset: bool
    pending: bool
    stages: tuple[StageTime, ...]
    environment: Environment
    recipe: Mapping[str, Any] = field(default_factory=dict)
    blame: BlameTable | None = None
    latency_rounds: tuple[float, ...] = ()
    machine: tuple[MachineState, ...] = ()
    placement: PlacementRecord | None = None
    handover: Handover | None = None
    devices: tuple[DeviceView, ...] = ()
    format: int = FORMAT
