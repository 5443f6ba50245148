"""The result of a run, and how it is printed at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from backends.contract import Artifact
from backends.error_metrics import worst
from backends.support import Support
from deploy.placement.record import PlacementRecord
from deploy.report.chain_diagram import Boundary, chain_boundaries
from deploy.report.console import plain_console
from deploy.report.device_results import (
    DeviceOutcome,
    agreement_lines,
    device_lines,
    device_table,
)
from deploy.report.placement import placement_lines
from deploy.report.progress import Stage, format_bytes, stage_table
from deploy.runtime.accuracy.evaluation import noted_scores
from deploy.runtime.accuracy.step_errors import (
    CHAIN,
    NOTHING_COMPARED,
    SAMPLES_NOTE,
    UNMOVED_NOTE,
    noted_agreement,
    recorded_rule,
)
from deploy.runtime.benchmark.machine_state import (
    describe_machine,
    is_machine_busy,
    slowed_down,
)
from deploy.runtime.benchmark.measurement import Measurement
from deploy.runtime.benchmark.ranking import format_ms, noise_line
from deploy.runtime.bundle.engine_choice import engines_by_step
from deploy.runtime.bundle.manifest import Manifest, Status
from deploy.runtime.bundle.sample import PICTURE
from deploy.runtime.execution.own_posts import word_for_command
from deploy.verify import Verdict

if TYPE_CHECKING:
    from deploy.precision.cast_segments import CastSummary

NUMPY_NOTE = "host steps ran in NumPy; a device with numba (the extra fast) compiles a detector's"
"""Of every latency that the desk measures."""

_MUCH = 0.02  # share of the latency
_BELOW = "\n" + 12 * " "  # a further line, below the text of the first


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        bundle: its folder.
        manifest: of the bundle, with the verification.
        verdict: of the verification.
        reference: what the bundle was compared with, such as ``PyTorch``.
        latency: of the bundle, if it was measured.
        casts: a summary for each segment that was cast.
        pictures: those that detections were compared on.
        support: what engines' own parsers say of segments that the device is to convert.
        placement: how the model was divided between engines, if the planner did that.
        devices: what became of the bundle on each device of the recipe.
    """

    bundle: Path
    manifest: Manifest
    verdict: Verdict
    reference: str
    latency: Measurement | None
    casts: Sequence[CastSummary] = ()
    pictures: Sequence[Path] = ()
    support: Mapping[str, Support] = field(default_factory=dict)
    placement: PlacementRecord | None = None
    devices: Sequence[DeviceOutcome] = ()

    @property
    def status(self) -> Status:
        """Of the verification at the desk, and on the devices."""
        status = self.manifest.verification.status
        if any(one.status == "failed" for one in self.devices):
            return "failed"
        return "passed" if self.devices and status == "pending" else status

    @property
    def problems(self) -> list[str]:
        """What is wrong, at the desk and on the devices."""
        desk = [str(self.verdict.problem)] if self.verdict.problem is not None else []
        return [*desk, *(one.problem for one in self.devices if one.problem)]

    @property
    def size(self) -> int:
        """Bytes of the files of the steps."""
        steps = self.manifest.steps
        files = [name for step in steps for name in (step.files or step.source)]
        return sum(self.manifest.files[name].size for name in files)

    @property
    def backends(self) -> str:
        """The backends of the steps, such as ``a`` or ``a+b``."""
        return "+".join(dict.fromkeys(step.backend for step in self.manifest.steps))

    @property
    def choices(self) -> dict[str, list[str]]:
        """The engines of each step that has alternatives, its own first."""
        engines = {step: list(names) for step, names in engines_by_step(self.manifest).items()}
        return {step: names for step, names in engines.items() if len(names) > 1}

    @property
    def gap(self) -> float | None:
        """The largest ``max_rel`` of the chain's outputs, if it was measured."""
        gaps = [item.gap for item in self.manifest.verification.gaps if item.step == CHAIN]
        return worst(gaps).max_rel if gaps else None

    @property
    def pending(self) -> bool:
        """Whether the device has yet to build or verify engines."""
        return any(step.pending for step in self.manifest.steps)


def print_result(
    console: Console, stages: Sequence[Stage], result: RunResult, page: Path | None
) -> None:
    """Print the table of stages, what was measured, where the files are and the next command.

    Args:
        console: to print on.
        stages: of the run.
        result: of the run.
        page: the report page, if it was written.
    """
    bundle = display_path(result.bundle)
    lines = _printed_notes(result)
    lines += [*_agreement_lines(result), _score_lines(result), _latency_lines(result)]
    console.print("", stage_table(stages), "", sep="\n")
    for line in filter(None, lines):
        console.print(line, highlight=False)
    if result.devices:
        wide = console if console.is_terminal else plain_console()
        wide.print("", device_table(result.devices), "", sep="\n")
        for line in device_lines(result.devices, result.manifest, result.reference):
            console.print(line, highlight=False, soft_wrap=True)
    console.print(f"bundle      {bundle}", highlight=False, soft_wrap=True)
    if PICTURE in result.manifest.files:
        console.print(f"picture     {bundle / PICTURE}", highlight=False, soft_wrap=True)
    if page is not None:
        console.print(f"report      {display_path(page)}", highlight=False, soft_wrap=True)
    for line in _next_commands(result, bundle):
        console.print(line, highlight=False, soft_wrap=True)
    for problem in result.problems:
        print(f"error: {problem}", file=sys.stderr)


def _next_commands(result: RunResult, bundle: Path) -> list[str]:
    device, named = "python -m deploy.runtime", f"{bundle}{_own_post_option(result.manifest)}"
    if result.pending:
        is_verified = any(one.status == "passed" for one in result.devices)
        where = "on each further device" if is_verified else "on the device"
        lines = [f"next        {device} build {named} ({where})"]
    else:
        lines = [f"next        {device} check {named}"]
        if any(artifact.pending for artifact in result.manifest.alternatives):
            lines.append(f"then        {device} build {named} (on the device: its other engines)")
    if result.choices:
        lines.append(f"then        {device} tune {named} (on the device)")
    return lines


def _own_post_option(manifest: Manifest) -> str:
    """The option that tells a command of the bundle's step, if it is code of the user's own."""
    own_post = word_for_command(manifest.post)
    return f" --post {own_post}" if own_post else ""


def _printed_notes(result: RunResult) -> list[str]:
    """The notes; of a placement the short form, and not every boundary that it made."""
    if result.placement is None:
        return result_notes(result)
    return [
        *placement_lines(result.placement),
        *_step_notes(result),
        *_sample_lines(result.manifest),
    ]


def result_notes(result: RunResult) -> list[str]:
    """Lines on casts, alternatives, answers of parsers, notes of engines, and boundaries."""
    boundaries = map(_boundary_line, chain_boundaries(result.manifest))
    return [*_step_notes(result), *boundaries, *_sample_lines(result.manifest)]


def _step_notes(result: RunResult) -> list[str]:
    engines = [
        f"engines     {step} on {own}, or {' or '.join(others)}"
        for step, (own, *others) in result.choices.items()
    ]
    casts = map(_cast_line, result.casts)
    parsers = [
        f"parser      {_BELOW.join(support.lines(segment))}"
        for segment, support in result.support.items()
    ]
    tells = [f"note        {note}" for note in result.verdict.engine_notes]
    return [*casts, *engines, *parsers, *tells]


def _sample_lines(manifest: Manifest) -> list[str]:
    """Lines on what the samples can show."""
    notes, allowed = manifest.verification.notes, recorded_rule(manifest)
    lines = [
        f"warning     the reference differs from itself by {floor.max_rel:.1e} at '{tensor}' "
        f"(cosine {floor.cosine:.6f}). Engines are held to {allowed.tolerance('fp32', tensor)} "
        "there; real samples, with model.samples=FOLDER, test more"
        for tensor, floor in allowed.floors.items()
    ]
    if SAMPLES_NOTE in notes:
        lines.append(f"samples     {notes[SAMPLES_NOTE]:.0f} were compared; errors are the worst")
    more = "further, different samples" if SAMPLES_NOTE in notes else "real samples"
    return lines + [
        f"warning     output '{name.removeprefix(UNMOVED_NOTE)}' hardly moves between two samples: "
        f"{change:.1e} of its largest value. This test says little; pass {more} "
        "with model.samples=FOLDER"
        for name, change in notes.items()
        if name.startswith(UNMOVED_NOTE)
    ]


def _cast_line(summary: CastSummary) -> str:
    text = f"precision   {summary.name}: {summary.cast} nodes in {summary.precision}"
    if summary.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.kept.items())
        text += f", in fp32: {reasons} ({display_path(summary.report)})"
    return text


def _boundary_line(boundary: Boundary) -> str:
    count = len(boundary.tensors)
    text = f"border      {boundary.source} to {boundary.target}: {format_bytes(boundary.size)} in "
    text += f"{count} tensor{'s' if count > 1 else ''}"
    return f"{text}, converted: {', '.join(boundary.converted)}" if boundary.converted else text


def _agreement_lines(result: RunResult) -> list[str]:
    if result.pending:
        verified = agreement_lines(result.devices, result.reference)
        work = _pending_work(result.manifest)
        return verified or [f"agreement   not measured yet: {work}"]
    notes = result.manifest.verification.notes
    parts = [] if result.gap is None else [f"max_rel {result.gap:.1e} from {result.reference}"]
    if agreement := noted_agreement(notes):
        parts.append(str(agreement))
    return [f"agreement   {', '.join(parts) or NOTHING_COMPARED}"]


def _pending_work(manifest: Manifest) -> str:
    """What the device has still to do, such as ``the device verifies head (a_backend 1.7)``."""
    unbuilt = [step.name for step in manifest.steps if not step.built]
    unverified = [step for step in manifest.steps if step.built and step.unverified]
    backends = dict.fromkeys(step.backend for step in unverified)
    parts = [f"builds and verifies {', '.join(unbuilt)}"] if unbuilt else []
    parts += [
        f"verifies {_built_by([step for step in unverified if step.backend == backend])}"
        for backend in backends
    ]
    return f"the device {', and '.join(parts)}"


def _built_by(steps: Sequence[Artifact]) -> str:
    """The steps, and what of their tools they have in common."""
    first = steps[0].tools
    common = [
        f"{name} {text}"
        for name, text in first.items()
        if all(step.tools.get(name) == text for step in steps)
    ]
    return f"{', '.join(step.name for step in steps)} (built here: {', '.join(common)})"


def _score_lines(result: RunResult) -> str:
    lines = [
        f"{score.title}: chain {score.chain:.4f}, {result.reference} {score.reference:.4f}"
        for score in noted_scores(result.manifest)
    ]
    return f"evaluation  {_BELOW.join(lines)}" if lines else ""


def _latency_lines(result: RunResult) -> str:
    """The latency, and what there is to know before it is believed."""
    if result.latency is None:
        return ""
    total = result.latency.total
    figures = {"p50": total.p50, "p90": total.p90, "min": total.min or 0.0}
    lines = [", ".join(f"{name} {format_ms(value)} ms" for name, value in figures.items())]
    if result.latency.is_noise:
        lines.append(noise_line(result.latency.rounds))
    lines += slowed_down(result.latency.machine)
    if is_machine_busy(result.latency.machine):
        lines.append(f"the machine was busy: {describe_machine(result.latency.machine)}")
    if _host_share(result.manifest, result.latency) >= _MUCH:
        lines.append(NUMPY_NOTE)
    return f"latency     {_BELOW.join(lines)}"


def _host_share(manifest: Manifest, latency: Measurement) -> float:
    """The share of the latency that host steps and post-processing take."""
    names = {"post", *(host.name for host in manifest.host)}
    host = sum(part.p50 for part in latency.parts if part.name in names)
    return host / latency.total.p50 if latency.total.p50 else 0.0


def display_path(path: Path) -> Path:
    """Relative to the current folder where it is inside, else unchanged."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
