"""Reports as files: the data as JSON, and the page as one HTML file without script or network."""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment as TemplateEnvironment
from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from markupsafe import Markup, escape

from backends.codec import FormatError, from_json, to_json
from backends.contract import DeployError
from backends.files import write_text
from backends.terminal import printable
from deploy.placement.record import PlacementRecord
from deploy.recipe.output_paths import WorkFile, work_folder
from deploy.report.data import FORMAT, Environment, Report, TensorRow
from deploy.report.device_columns import DESK, device_columns
from deploy.report.pictures import compare_pictures
from deploy.report.placement import (
    INCOMPLETE,
    border_line,
    border_rows,
    engine_shares,
    format_share,
    region_shares,
    search_line,
    share_unit,
    sorted_refused,
)
from deploy.report.placement_diagram import placement_svg
from deploy.report.progress import format_bytes, format_error
from deploy.report.run_result import NUMPY_NOTE
from deploy.report.svg.diagram import first_box_offset, render_svg
from deploy.report.sweep import Job, JobRow, Sweep, latency_lines
from deploy.report.trade_off import trade_off
from deploy.runtime.benchmark.machine_state import describe_machine, machine_rows, slowed_down
from deploy.runtime.benchmark.ranking import is_noise

_TEMPLATES = Path(__file__).parent / "templates"


class ReportError(DeployError):
    """A report that cannot be rendered or read."""


def write_report(work: Path, report: Report) -> Path:
    """Write a run's page and its data into the work folder.

    Returns:
        The page.

    Raises:
        DeployError: a file cannot be written; an earlier one is unchanged.
    """
    page = run_page(report)
    write_text(str(work / WorkFile.REPORT_DATA), json.dumps(to_json(report)))
    write_text(str(work / WorkFile.REPORT_PAGE), page)
    return work / WorkFile.REPORT_PAGE


def read_report(work: Path) -> Report | None:
    """The data of a run's page; none where the work folder has no report.

    Raises:
        ReportError: the file is damaged, or of another format.
    """
    path = work / WorkFile.REPORT_DATA
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text())
        _check_format(path, data)
        return from_json(Report, data, path.name)
    except (OSError, ValueError, FormatError) as error:
        raise ReportError(f"'{path}' cannot be read: {error}") from error


def _check_format(path: Path, data: Any) -> None:
    written = data.get("format", FORMAT) if isinstance(data, dict) else FORMAT
    if written != FORMAT:
        raise ReportError(
            f"format of '{path}'",
            expected=str(FORMAT),
            got=str(written),
            do="Another version wrote it: run python -m deploy again for this bundle.",
        )


def write_sweep(folder: Path, sweep: Sweep) -> Path:
    """Write a sweep's page into its folder.

    Returns:
        The page.

    Raises:
        DeployError: it cannot be written; an earlier one is unchanged.
    """
    page = folder / WorkFile.REPORT_PAGE
    write_text(str(page), sweep_page(sweep))
    return page


def job_of(row: JobRow, label: str, sweep: Path) -> Job:
    """A job of a sweep, with its own report if it has one.

    Args:
        row: the job's result.
        label: the overrides that not all jobs have.
        sweep: the sweep's folder.

    Raises:
        ReportError: see ``read_report``.
    """
    if not row.bundle:
        return Job(label, row)
    work = work_folder(Path(row.bundle))
    report = read_report(work)
    if report is None or report.job != row.job:  # a later job has written the same bundle
        return Job(label, row)
    page = work / WorkFile.REPORT_PAGE
    return Job(label, row, _page_link(page, sweep) if page.is_file() else "", report)


def _page_link(page: Path, sweep: Path) -> str:
    """Relative to the sweep's folder where the page is inside, else a ``file:`` address."""
    page, sweep = page.absolute(), sweep.absolute()
    if page.is_relative_to(sweep):
        return quote(page.relative_to(sweep).as_posix())
    return page.as_uri()


def run_page(report: Report) -> str:
    """The page of a run as HTML."""
    title = f"The chain of {report.model}"
    chains = [(f"Chain ({report.backends})", report.pictures)]
    return _render(
        "run.html",
        report=report,
        title=f"{report.model} on {report.backends}",
        diagram=Markup(render_svg(title, report.boxes, report.arrows)),
        first_box=f"{100 * first_box_offset(report.boxes, report.arrows):.1f}%",
        parity_by_step=[list(rows) for _, rows in groupby(report.parity, lambda row: row.step)],
        chain_row=_largest_error([row for row in report.parity if row.step == "chain"]),
        comparisons=compare_pictures(report.reference, chains),
        missing_sections=list(_missing_sections(report)),
        is_noise=is_noise(report.latency_rounds),
        machine=describe_machine(report.machine) if report.machine else "",
        slowed_down=slowed_down(report.machine),
        numpy_note=NUMPY_NOTE if any(box.kind == "host" for box in report.boxes) else "",
        placement=_placement_view(report.model, report.placement) if report.placement else None,
        device_groups=device_columns(report) if report.devices else (),
        has_energy=any(
            view.record and view.record.used and view.record.used.joules is not None
            for view in report.devices
        ),
        device_columns=[DESK, *(view.name for view in report.devices)],
    )


def _placement_view(model: str, record: PlacementRecord) -> Mapping[str, object]:
    """What the template shows of a placement."""
    return {
        "diagram": Markup(placement_svg(f"How {model} was divided between engines", record)),
        "engines": engine_shares(record),
        "unit": share_unit(record),
        "regions": list(zip(record.regions, region_shares(record), strict=True)),
        "borders": border_rows(record),
        "refused": sorted_refused(record.refused),
        "lines": [border_line(record), search_line(record)],
        "measured": record.measured,
        "notes": record.notes,
        "incomplete": "" if record.complete else INCOMPLETE,
    }


def sweep_page(sweep: Sweep) -> str:
    """The page of a sweep as HTML."""
    jobs = [job for job in sweep.jobs if job.report is not None]
    reports = [job.report for job in jobs if job.report is not None]
    reference = reports[0].reference if reports else ""  # all jobs of a sweep have the same
    plot = trade_off(sweep.jobs)
    return _render(
        "sweep.html",
        sweep=sweep,
        title=f"A sweep of {len(sweep.jobs)} jobs",
        measured=[job for job in jobs if job.total is not None],
        reference=reference,
        comparisons=compare_pictures(reference, [(job.title, job.pictures) for job in jobs]),
        with_results=[job for job in jobs if job.report is not None and job.report.results],
        trade_off=plot,
        trade_off_svg=Markup(plot.svg) if plot else "",
        latency_notes=_latency_notes(sweep),
        machine_rows=machine_rows(sweep.comparison.machine) if sweep.comparison else [],
        environment=_shared_environment(reports),
    )


def _latency_notes(sweep: Sweep) -> list[str]:
    """What was measured in turns, and who is fastest."""
    if sweep.comparison is None:
        return ["Each job measured its own, when it happened to run: they cannot be compared."]
    return latency_lines(sweep.comparison, [job.label for job in sweep.jobs])


def _shared_environment(reports: Sequence[Report]) -> Environment | None:
    """The environment of the first report, with the tools of all."""
    if not reports:
        return None
    tools = ChainMap(*(dict(report.environment.tools) for report in reports))
    return replace(reports[0].environment, tools=dict(tools))


def _largest_error(rows: Sequence[TensorRow]) -> TensorRow | None:
    return max(rows, key=lambda row: row.max_rel, default=None)


def _missing_sections(report: Report) -> Iterator[tuple[str, str]]:
    """The sections that the page lacks, each with how to get it."""
    if report.pending and not report.devices:
        build = f"python -m deploy.runtime build {report.bundle}"
        yield "Numbers", f"the device builds or verifies its engines there: {build}"
        return
    if report.pending:
        return
    is_timed = report.latency or report.devices
    if not is_timed and report.recipe.get("bench.runs"):
        yield "Latency", "its sweep measures it at its end, in turns with the other jobs"
    elif not is_timed:
        yield "Latency", "bench.runs is 0; bench.runs=20 on the command line takes it"
    if not report.scores and report.has_dataset:
        yield "Scores", "verify.eval is false; verify.eval=true on the command line evaluates both"
    if report.parity and report.blame is None:
        blame = f"python -m deploy blame {report.bundle}"
        yield "Blame", f"which step adds what to the error: {blame}"


def _render(name: str, **variables: object) -> str:
    try:
        # escaped as HTML by the templates; a reversed or invisible name would still deceive
        return printable(_template(name).render(variables))
    except TemplateError as error:
        raise ReportError(
            f"template '{name}' cannot be rendered: {type(error).__name__}: {error}",
            do="Install backend-chain again; its files are of different versions.",
        ) from error


def _template(name: str) -> Template:
    environment = TemplateEnvironment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "bytes": format_bytes,
        "coded": _coded,
        "error": format_error,
        "json": json.dumps,
        "percent": _css_percent,
        "runs_on": _describe_part,
        "share": format_share,
    }
    environment.globals |= {
        "labels": _LABELS,
        "style": Markup((_TEMPLATES / "page.css").read_text()),
    }
    return environment.get_template(name)


def _breakable(text: str) -> Markup:
    """A text that may be broken behind its signs, and within its words only where it has to be."""
    return Markup(re.sub(r"([=,./_+])(?=\w)", r"\1<wbr>", str(escape(text))))


def _coded(text: str) -> Markup:
    """A text in which what stands between two grave accents is code."""
    return Markup(re.sub(r"``(.+?)``", r"<code>\1</code>", str(escape(text))))


def _css_percent(value: float, whole: float) -> str:
    """A length for CSS, such as ``12.5%``."""
    return f"{min(100.0, 100 * value / whole) if whole > 0 else 0.0:.2f}%"


_LABELS: Mapping[str, str] = {
    "passed": "\N{CHECK MARK} passed",
    "failed": "\N{BALLOT X} failed",
    "pending": "\N{WHITE CIRCLE} pending",
    "not run": "\N{WHITE CIRCLE} not measured",
    "within": "\N{CHECK MARK} within",
    "beyond": "\N{BALLOT X} beyond",
}
"""Verdicts, legible without colours."""


_PARTS = {
    "decode": "picture file to pixels",
    "pre": "pixels to tensor",
    "chain": "between the steps",
    "post": "tensors to results",
}


def _describe_part(part: str, report: Report) -> str:
    """What a part of the latency is: where a step runs, or the work around the steps."""
    steps = {box.title: box.lines[0] for box in report.boxes if box.key == f"step:{part}"}
    return steps.get(part) or _PARTS.get(part, "")
