"""Reports as HTML pages: one file, no script, nothing from the network."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment as Filler
from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from markupsafe import Markup

from backends.contract import DeployError
from deploy.report.comparison import compare_pictures
from deploy.report.data import Environment, Report, TensorRow
from deploy.report.progress import format_bytes, format_error
from deploy.report.svg.diagram import first_box_offset, render_svg
from deploy.report.sweep import Job, Sweep

_TEMPLATES = Path(__file__).parent / "templates"


class ReportError(DeployError):
    """A report that cannot be made or read."""


def run_page(report: Report) -> str:
    """The page of a run."""
    return _rendered(
        "run.html",
        report=report,
        title=f"{report.model} on {report.backends}",
        picture=Markup(render_svg(f"The chain of {report.model}", report.boxes, report.arrows)),
        begin=f"{100 * first_box_offset(report.boxes, report.arrows):.1f}%",
        parity=[list(rows) for _, rows in groupby(report.parity, key=lambda row: row.step)],
        chain=_worst([row for row in report.parity if row.step == "chain"]),
        scenes=compare_pictures(report.against, [(f"Chain ({report.backends})", report.sightings)]),
        absent=missing_sections(report),
    )


def sweep_page(sweep: Sweep) -> str:
    """The page of a sweep."""
    shown = [job for job in sweep.jobs if job.report is not None]
    return _rendered(
        "sweep.html",
        sweep=sweep,
        title=f"A sweep of {len(sweep.jobs)} jobs",
        measured=[job for job in shown if job.report is not None and job.report.latency],
        against=_against(shown),
        scenes=compare_pictures(_against(shown), [(job.title, job.sightings) for job in shown]),
        environment=_environment([job.report for job in shown if job.report is not None]),
    )


def _against(jobs: Sequence[Job]) -> str:
    """What the jobs were compared with; all of a sweep are of one kind."""
    return next((job.report.against for job in jobs if job.report is not None), "")


def _environment(reports: Sequence[Report]) -> Environment | None:
    """Of the first, with what made the bundles of the others too."""
    if not reports:
        return None
    tools = ChainMap(*(dict(one.environment.tools) for one in reports))
    return replace(reports[0].environment, tools=dict(tools))


def _worst(rows: Sequence[TensorRow]) -> TensorRow | None:
    return max(rows, key=lambda row: row.max_rel, default=None)


def _rendered(name: str, **shown: object) -> str:
    try:
        return _template(name).render(shown)
    except TemplateError as error:
        raise ReportError(
            f"template '{name}' cannot be filled in: {type(error).__name__}: {error}",
            do="Install backend-chain anew; its files are not of one version.",
        ) from error


def _template(name: str) -> Template:
    made = Filler(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "bytes": format_bytes,
        "gap": format_error,
        "share": _share,
        "about": describe_part,
    }
    made.globals |= {
        "words": VERDICT_LABELS,
        "style": Markup((_TEMPLATES / "page.css").read_text()),
    }
    return made.get_template(name)


def _share(value: float, most: float) -> str:
    """As a length for CSS, such as ``12.5%``."""
    return f"{min(100.0, 100 * value / most) if most > 0 else 0.0:.2f}%"


VERDICT_LABELS: Mapping[str, str] = {
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


def describe_part(part: str, report: Report) -> str:
    """What a part of the latency is: where a step runs, or what is around the steps."""
    steps = {box.title: box.lines[0] for box in report.boxes if box.key == f"step:{part}"}
    return steps.get(part) or _PARTS.get(part, "")


def missing_sections(report: Report) -> list[tuple[str, str]]:
    """What the page has not, each with how to get it."""
    return list(_absent(report))


def _absent(report: Report) -> Iterator[tuple[str, str]]:
    if report.pending:
        build = f"python -m deploy.runtime build {report.bundle}"
        yield "Numbers", f"the device builds and verifies its own engines there: {build}"
        return
    if not report.latency:
        yield "Latency", "bench.runs is 0; bench.runs=20 on the command line takes it"
    if not report.means and report.evaluable:
        yield "mAP", "verify.eval is false; verify.eval=true on the command line evaluates both"
    if report.parity and report.blame is None:
        blame = f"python -m deploy.blame {report.bundle}"
        yield "Blame", f"which step adds what to the error: {blame}"
