"""A report is kept beside its bundle, and made again from there."""

from __future__ import annotations

import pytest

from backends.contract import DeployError
from deploy.cli.sweep_callback import _write_page
from deploy.recipe.output_paths import WorkFile
from deploy.report.page import ReportError, job_of, read_report, write_report
from deploy.report.sweep import JobRow
from tests.report.samples import report


def test_what_was_written_is_read_again(tmp_path):
    assert write_report(tmp_path, report()) == tmp_path / WorkFile.REPORT_PAGE
    assert read_report(tmp_path) == report()
    assert {path.name for path in tmp_path.iterdir()} == {
        WorkFile.REPORT_DATA,
        WorkFile.REPORT_PAGE,
    }


def test_a_folder_without_a_report_has_none(tmp_path):
    assert read_report(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"report\.json' cannot be read"),
        ('{"model": 1}', r"cannot be read: report\.json: field '\w+' is missing"),
    ],
)
def test_a_damaged_report_is_refused(text, message, tmp_path):
    (tmp_path / WorkFile.REPORT_DATA).write_text(text)
    with pytest.raises(ReportError, match=message):
        read_report(tmp_path)


def test_a_report_of_another_format_is_refused(tmp_path):
    write_report(tmp_path, report(format=99))
    with pytest.raises(
        ReportError, match=r"format of '.*report\.json': expected 4, got 99\. Another version wrote"
    ):
        read_report(tmp_path)


def test_a_report_of_an_earlier_format_is_refused_although_its_fields_differ(tmp_path):
    (tmp_path / WorkFile.REPORT_DATA).write_text('{"model": "m", "sightings": [], "format": 1}')
    with pytest.raises(ReportError, match=r"expected 4, got 1\. .* run python -m deploy again"):
        read_report(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / WorkFile.REPORT_PAGE).mkdir()
    with pytest.raises(DeployError, match=r"report\.html' cannot be written"):
        write_report(tmp_path, report())
    assert not list((tmp_path / WorkFile.REPORT_PAGE).iterdir())


def row(bundle, **changes) -> JobRow:
    return JobRow(changes.pop("job", report().job), bundle=str(bundle), **changes)


def test_a_job_has_its_own_report_and_the_way_to_it(tmp_path):
    work = tmp_path / "sweep" / "0" / "b c.work"
    work.mkdir(parents=True)
    write_report(work, report())
    job = job_of(row(tmp_path / "sweep" / "0" / "b c"), "label", tmp_path / "sweep")
    assert job.report == report() and job.page == "0/b%20c.work/report.html"
    outside = job_of(row(tmp_path / "sweep" / "0" / "b c"), "label", tmp_path / "other")
    assert outside.page == (work / WorkFile.REPORT_PAGE).as_uri()


def test_the_report_of_a_later_job_in_the_same_bundle_is_not_taken_for_an_earlier_one(tmp_path):
    work = tmp_path / "b.work"
    work.mkdir()
    write_report(work, report())
    assert job_of(row(tmp_path / "b", job="another"), "", tmp_path).report is None


def test_a_job_without_a_bundle_has_no_report(tmp_path):
    assert job_of(row("", error="it failed"), "", tmp_path).page == ""


def test_a_sweep_whose_page_cannot_be_made_says_why_and_goes_on(tmp_path, capsys):
    work = tmp_path / "b.work"
    work.mkdir()
    (work / WorkFile.REPORT_DATA).write_text("{")
    _write_page(tmp_path, [row(tmp_path / "b")])
    said = capsys.readouterr().err
    assert "warning: the sweep's report is not written: " in said and "cannot be read" in said
    assert not (tmp_path / WorkFile.REPORT_PAGE).exists()


def test_a_sweep_has_its_page_in_its_folder(tmp_path, capsys):
    _write_page(tmp_path, [row("", error="it failed")])
    assert f"report: {tmp_path / WorkFile.REPORT_PAGE}" in capsys.readouterr().out
    assert "it failed" in (tmp_path / WorkFile.REPORT_PAGE).read_text()
