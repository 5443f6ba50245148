"""The section of the page that shows what an app needs."""

from __future__ import annotations

import json

from backends.codec import from_json, to_json
from deploy.report.data import Report
from deploy.report.page import run_page
from tests.report.samples import EVIL, handover, report


def test_the_section_shows_the_numbers_and_not_the_default_beside_them():
    page = run_page(report(handover=handover()))
    assert "Boxes" in page and "<code>use_half false</code>" in page
    assert "<code>size</code> &lt;script&gt;" in page and EVIL not in page
    assert "<td><code>4</code></td>" in page and "<td><code>3</code></td>" not in page
    assert "built by the device" in page and "int64[100, 4]" in page


def test_a_chain_without_an_engine_of_apps_has_no_section(demo_run):
    page = (demo_run.work / "report.html").read_text()
    assert "Hand-over" not in page and 'id="handover"' not in page
    assert json.loads((demo_run.work / "report.json").read_text())["handover"] is None
    assert (demo_run.bundle / "handover.json").is_file()


def test_the_facts_are_kept_with_the_data_of_the_page():
    made = report(handover=handover())
    assert from_json(Report, json.loads(json.dumps(to_json(made))), "report") == made
