"""Reports as HTML pages: one file, no script, nothing from the network."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment as Filler
from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from markupsafe import Markup

from backends.contract import DeployError
from deploy.drawing.diagram import begin, svg
from deploy.progress import as_gap, in_bytes
from deploy.reporting.contents import Environment, Parity, Report
from deploy.reporting.scenes import scenes
from deploy.reporting.sweeps import Job, Sweep
from deploy.reporting.words import WORDS, about, absent

_TEMPLATES = Path(__file__).parent / "templates"


class ReportError(DeployError):
    """A report that cannot be made or read."""


def run_page(report: Report) -> str:
    """The page of a run."""
    return _rendered(
        "run.html",
        report=report,
        title=f"{report.model} on {report.backends}",
        picture=Markup(svg(f"The chain of {report.model}", report.boxes, report.arrows)),
        begin=f"{100 * begin(report.boxes, report.arrows):.1f}%",
        parity=[list(rows) for _, rows in groupby(report.parity, key=lambda row: row.step)],
        chain=_worst([row for row in report.parity if row.step == "chain"]),
        scenes=scenes(report.against, [(f"Chain ({report.backends})", report.sightings)]),
        absent=absent(report),
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
        scenes=scenes(_against(shown), [(job.title, job.sightings) for job in shown]),
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


def _worst(rows: Sequence[Parity]) -> Parity | None:
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
    made.filters |= {"bytes": in_bytes, "gap": as_gap, "share": _share, "about": about}
    made.globals |= {"words": WORDS, "style": Markup((_TEMPLATES / "page.css").read_text())}
    return made.get_template(name)


def _share(value: float, most: float) -> str:
    """As a length for CSS, such as ``12.5%``."""
    return f"{min(100.0, 100 * value / most) if most > 0 else 0.0:.2f}%"
