"""What devices have measured of a bundle: as lines, as a table, and as data of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.table import Table

from backends.error_metrics import worst
from deploy.report.progress import format_error
from deploy.runtime.accuracy.evaluation import NotedScore, noted_scores
from deploy.runtime.accuracy.step_errors import (
    CHAIN,
    noted_agreement,
    recorded_rule,
    rule_notes,
)
from deploy.runtime.benchmark.machine_state import is_machine_busy, slowed_down
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.ranking import format_ms, is_noise
from deploy.runtime.bundle.manifest import DeviceEntry, Manifest, Verification
from deploy.runtime.device_record import AlternativeLatency, DeviceRecord
from deploy.runtime.results.result import Agreement


@dataclass(frozen=True)
class DeviceOutcome:
    """What became of a bundle on a device.

    Attributes:
        name: of the device.
        record: what was measured there; None where nothing could be.
        problem: why not, or what does not agree; empty where all is well.
        is_local: whether the device is the desk.
    """

    name: str
    record: DeviceRecord | None
    problem: str = ""
    is_local: bool = False

    @property
    def status(self) -> str:
        """``passed`` or ``failed``."""
        return "passed" if self.record and self.record.status == "passed" else "failed"

    @property
    def gap(self) -> float | None:
        """The largest ``max_rel`` of the chain's outputs there, if it was measured."""
        gaps = [item.gap for item in self.record.gaps if item.step == CHAIN] if self.record else []
        return worst(gaps).max_rel if gaps else None

    @property
    def used(self) -> AlternativeLatency | None:
        """The latency of the bundle as it is used there, if it was measured."""
        return self.record.used if self.record else None

    @property
    def latency(self) -> Measurement | None:
        """The same as a measurement."""
        if self.record is None or self.used is None:
            return None
        return Measurement(
            self.used.parts, self.used.rounds, 0, self.record.states, self.used.joules
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader of its latency has to know."""
        if self.record is None or self.used is None:
            return ()
        noise = ["noise"] if is_noise(self.used.rounds) else []
        busy = ["other work"] if is_machine_busy(self.record.states) else []
        return (*slowed_down(self.record.states), *busy, *noise)


def verified_there(manifest: Manifest, record: DeviceRecord) -> Manifest:
    """The manifest with the device's verification in the place of the desk's.

    The rule stays, and so do the reference's scores, which the desk alone can compute.
    """
    reference = {
        name: value
        for name, value in manifest.verification.notes.items()
        if name.startswith("torch_")
    }
    notes = {**rule_notes(recorded_rule(manifest)), **reference, **record.notes}
    return replace(manifest, verification=Verification(record.status, record.gaps, notes))


def device_agreement(record: DeviceRecord) -> Agreement | None:
    """How many of the results are the same as the reference's; None where there are none."""
    return noted_agreement(record.notes)


def device_scores(manifest: Manifest, record: DeviceRecord) -> tuple[NotedScore, ...]:
    """The scores of the bundle on the device, beside those of the reference."""
    return noted_scores(verified_there(manifest, record))


def device_entry(record: DeviceRecord) -> DeviceEntry:
    """What the bundle's manifest says of a device."""
    latency = {} if record.used is None else {"p50_ms": record.used.total.p50}
    return DeviceEntry(
        name=record.device,
        at=record.at,
        architecture=record.machine.architecture,
        processor=record.machine.processor,
        tools=record.machine.tools,
        status=record.status,
        gaps=record.gaps,
        notes={**record.notes, **latency},
    )


def agreement_text(record: DeviceRecord, gap: float | None, reference: str) -> str:
    """How the bundle agrees there, in words."""
    parts = [] if gap is None else [f"max_rel {gap:.1e} from {reference}"]
    if agreement := device_agreement(record):
        parts.append(str(agreement))
    return ", ".join(parts)


def agreement_lines(outcomes: Sequence[DeviceOutcome], reference: str) -> list[str]:
    """For each device on which the bundle agrees, how; of bundles that the desk cannot run."""
    return [
        f"agreement   verified on {one.name}: {agreement_text(one.record, one.gap, reference)}"
        for one in outcomes
        if one.record is not None and one.record.status == "passed"
    ]


def device_table(outcomes: Sequence[DeviceOutcome]) -> Table:
    """A row for each device: status, errors, results, latency, the fastest engines, marks."""
    table = Table(box=None, pad_edge=False)
    for title in ("device", "status"):
        table.add_column(title, overflow="fold")
    for title in ("max_rel", "matched", "p50 ms", "rounds"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("engines", ""):
        table.add_column(title, overflow="fold")
    for one in outcomes:
        agreement = device_agreement(one.record) if one.record else None
        table.add_row(
            one.name,
            one.status if one.record else "not measured",
            format_error(one.gap),
            f"{agreement.matched} of {agreement.total}" if agreement else "",
            format_ms(one.used.total.p50) if one.used else "",
            round_range(one.used) if one.used else "",
            one.used.name if one.used else "",
            ", ".join(one.marks),
        )
    return table


def round_range(latency: AlternativeLatency) -> str:
    """The least and the largest p50 of its rounds, in milliseconds."""
    return f"{format_ms(min(latency.rounds))} to {format_ms(max(latency.rounds))}"


def device_lines(
    outcomes: Sequence[DeviceOutcome], manifest: Manifest, reference: str
) -> list[str]:
    """Below the table: scores, the fastest engines, what was tuned, the energy, what was left out.

    Args:
        outcomes: of the devices.
        manifest: of the bundle.
        reference: what it was compared with.
    """
    return [
        line
        for one in outcomes
        if one.record
        for line in (*_score_lines(one.record, manifest, reference), *_lines(one.record))
    ]


def _score_lines(record: DeviceRecord, manifest: Manifest, reference: str) -> list[str]:
    return [
        f"on {record.device}: {score.title}: {score.chain:.4f}, {reference} {score.reference:.4f}"
        for score in device_scores(manifest, record)
    ]


def _lines(record: DeviceRecord) -> list[str]:
    others = "; ".join(f"{row.name} {format_ms(row.total.p50)} ms" for row in record.latency[1:])
    used = record.used
    lines = [
        f"{record.standing} ({others})" if others else "",
        f"tuned: {record.tuned}" if record.tuned else "",
        f"energy: {used.joules:.3g} J for each call" if used and used.joules is not None else "",
        *(f"{name} not measured: {why}" for name, why in record.left_out.items()),
    ]
    return [f"on {record.device}: {line}" for line in lines if line]
