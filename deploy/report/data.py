"""What a report shows, as plain data: kept as JSON beside the page that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deploy.report.svg.diagram import Arrow, Box
from deploy.runtime.latency import PartLatency

PAGE, DATA = "report.html", "report.json"
"""The files of a report, in the folder beside its bundle or in that of a sweep."""


FORMAT = 1


State = Literal["matched", "missing", "extra"]


@dataclass(frozen=True)
class TensorRow:
    """One tensor of a step beside the reference's.

    Attributes:
        step: the step's name, or ``chain``.
        runs_on: the backend and the precision; ``host`` for a host step.
        tensor: its name.
        max_abs: largest absolute difference.
        max_rel: over the largest magnitude of the reference.
        cosine: of the angle between both.
        bound: the tolerance in words.
        good: whether it is within.
        worst: whether no other uses up more of its tolerance.
    """

    step: str
    runs_on: str
    tensor: str
    max_abs: float
    max_rel: float
    cosine: float
    bound: str
    good: bool
    worst: bool = False


@dataclass(frozen=True)
class DetectionView:
    """One detection.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture.
        score: from 0 to 1.
        name: of its class.
        state: ``matched`` in both, ``missing`` in the chain, or ``extra`` there.
        other: the score of its partner.
        mask: its pixels as the path of an SVG; nothing where there are no masks.
    """

    box: tuple[float, float, float, float]
    score: float
    name: str
    state: State
    other: float | None = None
    mask: str = ""


@dataclass(frozen=True)
class PictureView:
    """One picture, and what both models find in it.

    Attributes:
        name: of the picture's file.
        width: of the picture in pixels.
        height: likewise.
        image: the picture made small, as a ``data:`` address.
        expected: what the reference finds.
        found: what the chain finds.
    """

    name: str
    width: int
    height: int
    image: str
    expected: tuple[DetectionView, ...]
    found: tuple[DetectionView, ...]

    @property
    def differences(self) -> tuple[DetectionView, ...]:
        """What one of both finds alone."""
        return tuple(one for one in (*self.expected, *self.found) if one.state != "matched")


@dataclass(frozen=True)
class PrecisionRow:
    """One kind of COCO mAP: what is evaluated, of the chain and of the reference."""

    what: str
    chain: float
    reference: float


@dataclass(frozen=True)
class BlameTable:
    """What ``deploy.blame`` found.

    Attributes:
        said: its sentences, the culprit in the first.
        guilty: the step that is to blame, where one is.
        head: titles of the columns.
        rows: of the table.
        operator: lines about the operator that was looked for.
    """

    said: tuple[str, ...]
    guilty: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    operator: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """Where and when it was made.

    Attributes:
        made: the time, UTC.
        system: the operating system.
        processor: its name.
        cores: as the system counts them.
        python: its version.
        tools: versions of what made the bundle.
    """

    made: str
    system: str
    processor: str
    cores: int
    python: str
    tools: Mapping[str, str]


@dataclass(frozen=True)
class StageTime:
    """A stage of the run: seconds, and whether its result was in the cache."""

    name: str
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Report:
    """A run.

    Attributes:
        model: its name.
        backends: such as ``a+b``.
        job: the words of the command line.
        command: the command line, quoted for a shell.
        bundle: its path.
        manifest: the SHA-256 of its manifest.
        against: what it was compared with.
        status: of the verification.
        problem: the first thing beyond its tolerance, or nothing.
        size: bytes of the steps' files.
        boxes: of the picture of the chain.
        arrows: likewise.
        notes: about precision and borders.
        parity: every tensor that was compared.
        sightings: the pictures.
        matched: confident detections that both models share, counted from both sides.
        total: all of them; nothing where the model finds nothing in pictures.
        latency: of every part; nothing where it was not measured.
        runs: that it was taken from.
        means: mAP; nothing where it was not evaluated.
        evaluable: whether the model has a data set to evaluate on.
        pending: whether the device has still to build engines.
        stages: of the run.
        environment: where and when.
        recipe: every value that was asked for, by its key.
        blame: what was found later.
        format: of this description.
    """

    model: str
    backends: str
    job: str
    command: str
    bundle: str
    manifest: str
    against: str
    status: Literal["passed", "failed", "not run"]
    problem: str
    size: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[str, ...]
    parity: tuple[TensorRow, ...]
    sightings: tuple[PictureView, ...]
    matched: int | None
    total: int | None
    latency: tuple[PartLatency, ...]
    runs: int
    means: tuple[PrecisionRow, ...]
    evaluable: bool
    pending: bool
    stages: tuple[StageTime, ...]
    environment: Environment
    recipe: Mapping[str, Any] = field(default_factory=dict)
    blame: BlameTable | None = None
    format: int = FORMAT
