"""Reports in their folders: written whole or not at all, and read again."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from backends.codec import FormatError, from_json, to_json
from backends.files import write_text
from deploy.recipe.output_paths import work_folder
from deploy.report.data import DATA, FORMAT, PAGE, Report
from deploy.report.page import ReportError, run_page, sweep_page
from deploy.report.sweep import Job, JobRow, Sweep


def write_report(work: Path, report: Report) -> Path:
    """Write a run's page, and what it is made of, beside its bundle.

    Returns:
        The page.

    Raises:
        DeployError: a file cannot be written; an earlier one is as it was.
    """
    page = run_page(report)
    write_text(str(work / DATA), json.dumps(to_json(report)))
    write_text(str(work / PAGE), page)
    return work / PAGE


def read_report(work: Path) -> Report | None:
    """What a run's page is made of; nothing where the folder has none.

    Raises:
        ReportError: the file is damaged, or of another format.
    """
    path = work / DATA
    if not path.is_file():
        return None
    try:
        report = from_json(Report, json.loads(path.read_text()), path.name)
    except (OSError, ValueError, FormatError) as error:
        raise ReportError(f"'{path}' cannot be read: {error}") from error
    if report.format != FORMAT:
        raise ReportError(f"format of '{path}'", expected=str(FORMAT), got=str(report.format))
    return report


def job_of(row: JobRow, label: str, sweep: Path) -> Job:
    """A job of a sweep, with its own report if it has one.

    Args:
        row: what came of it.
        label: what sets it apart.
        sweep: the sweep's folder.

    Raises:
        ReportError: as of ``read_report``.
    """
    if not row.bundle:
        return Job(label, row)
    work = work_folder(Path(row.bundle))
    report = read_report(work)
    if report is None or report.job != row.job:  # of a later job with the same bundle
        return Job(label, row)
    page = work / PAGE
    return Job(label, row, _address(page, sweep) if page.is_file() else "", report)


def write_sweep(folder: Path, sweep: Sweep) -> Path:
    """Write a sweep's page into its folder.

    Returns:
        The page.

    Raises:
        DeployError: it cannot be written; an earlier one is as it was.
    """
    write_text(str(folder / PAGE), sweep_page(sweep))
    return folder / PAGE


def _address(page: Path, sweep: Path) -> str:
    """From the sweep's folder where the page is in there, else as a file's."""
    page, sweep = page.absolute(), sweep.absolute()
    if page.is_relative_to(sweep):
        return quote(page.relative_to(sweep).as_posix())
    return page.as_uri()
