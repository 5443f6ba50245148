"""The table of a report with a column for the desk and one for each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.report.data import DeviceView, MatchedCount, Report, TensorRow
from deploy.report.progress import format_bytes, format_error
from deploy.runtime.accuracy.evaluation import NotedScore
from deploy.runtime.benchmark.machine_state import describe_machine, slowed_down
from deploy.runtime.benchmark.ranking import format_ms, is_noise
from deploy.runtime.device_record import DeviceRecord
from deploy.runtime.latency import PartLatency

DESK = "desk"


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: what it says; empty where nothing is known.
        verdict: a status or ``within`` or ``beyond``, which the page has a label for.
        below: a further line.
        flags: marks.
    """

    text: str = ""
    verdict: str = ""
    below: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together, each with a cell for every column."""

    title: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class _Column:
    """What is known of the bundle on one machine, by the labels of rows."""

    agreement: Mapping[str, Cell]
    scores: Mapping[str, Cell]
    latency: Mapping[str, Cell]
    machine: Mapping[str, Cell]


def device_columns(report: Report) -> tuple[RowGroup, ...]:
    """The rows of the table; its columns are ``DESK`` and the devices in their order."""
    columns = [_desk(report), *(_device(view) for view in report.devices)]
    groups = (
        RowGroup("Agreement", _rows([column.agreement for column in columns])),
        RowGroup("Scores", _rows([column.scores for column in columns])),
        RowGroup("Latency, ms", _rows([column.latency for column in columns])),
        RowGroup("Machine", _rows([column.machine for column in columns])),
    )
    return tuple(group for group in groups if group.rows)


def _rows(columns: Sequence[Mapping[str, Cell]]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """A row for each label that a device has, whatever else the desk knows."""
    _, *devices = columns
    labels = dict.fromkeys(label for column in devices for label in column)
    return tuple(
        (label, tuple(column.get(label, Cell()) for column in columns)) for label in labels
    )


def _desk(report: Report) -> _Column:
    environment = report.environment
    status = "pending" if report.pending else "failed" if report.problem else "passed"
    machine = {
        "system": environment.system,
        "processor": environment.processor,
        "cores": str(environment.cores),
        "python": environment.python,
        **environment.tools,
    }
    return _Column(
        agreement=_agreement(status, report.parity, report.agreement),
        scores=_scores(report.scores),
        latency=_latency(report.latency, report.latency_rounds, slowed_down(report.machine)),
        machine=_texts(machine) | _meanwhile(describe_machine(report.machine), report.machine),
    )


def _device(view: DeviceView) -> _Column:
    record = view.record
    if record is None:
        return _Column({"status": Cell(verdict="not run", below=view.problem)}, {}, {}, {})
    machine = record.machine
    texts = {
        "system": machine.system,
        "processor": machine.processor,
        "architecture": machine.architecture,
        "cores": str(machine.cores),
        "memory": format_bytes(machine.memory) if machine.memory else "",
        "governor": machine.governor,
        "python": machine.python,
        **machine.tools,
        "measured": record.at,
    }
    return _Column(
        agreement=_agreement(record.status, view.parity, view.agreement),
        scores=_scores(view.scores),
        latency=_device_latency(record),
        machine=_texts(texts) | _meanwhile(describe_machine(record.states), record.states),
    )


def _texts(values: Mapping[str, str]) -> dict[str, Cell]:
    return {name: Cell(text) for name, text in values.items() if text}


def _meanwhile(text: str, states: Sequence[object]) -> dict[str, Cell]:
    return {"meanwhile": Cell(text)} if states else {}


def _agreement(
    status: str, parity: Sequence[TensorRow], agreement: MatchedCount | None
) -> dict[str, Cell]:
    rows = {
        f"{row.step}: {row.tensor}": Cell(
            format_error(row.max_rel),
            *(() if row.within_tolerance else ("beyond", f"allowed: {row.tolerance}")),
        )
        for row in parity
    }
    matched = (
        {f"{agreement.noun} matched": Cell(f"{agreement.matched} of {agreement.total}")}
        if agreement
        else {}
    )
    return {"status": Cell(verdict=status), **matched, **rows}


def _scores(scores: Sequence[NotedScore]) -> dict[str, Cell]:
    return {
        score.title: Cell(f"{score.chain:.4f}", below=f"model {score.reference:.4f}")
        for score in scores
    }


def _latency(
    parts: Sequence[PartLatency], rounds: Sequence[float], marks: Sequence[str]
) -> dict[str, Cell]:
    """The p50 of each part, the total first with the range of its rounds."""
    if not parts:
        return {}
    *others, total = parts
    noise = ("noise",) if is_noise(rounds) else ()
    first = Cell(format_ms(total.p50), below=_span(rounds), flags=(*marks, *noise))
    return {"total, p50": first, **{part.name: Cell(format_ms(part.p50)) for part in others}}


def _device_latency(record: DeviceRecord) -> dict[str, Cell]:
    used = record.used
    if used is None:
        return {}
    engines = {
        row.name: Cell(format_ms(row.total.p50), below=_span(row.rounds)) for row in record.latency
    }
    energy = {} if used.joules is None else {"joules for each call": Cell(f"{used.joules:.3g}")}
    rows = _latency(used.parts, used.rounds, slowed_down(record.states))
    left_out = {name: Cell("not measured", below=why) for name, why in record.left_out.items()}
    standing = (
        {"fastest": Cell(record.standing.removeprefix("fastest: "))} if record.standing else {}
    )
    tuned = {"tuned": Cell(record.tuned)} if record.tuned else {}
    several = engines if len(engines) > 1 else {}
    return {**rows, **several, **left_out, **standing, **tuned, **energy}


def _span(rounds: Sequence[float]) -> str:
    return f"{format_ms(min(rounds))} to {format_ms(max(rounds))}" if rounds else ""
