"""The pages in a real browser, as they look on a desk and on a phone, by day and by night."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from deploy.pipeline.sweep_latency import rows_with_latency
from deploy.recipe.output_paths import WorkFile
from deploy.report.page import run_page, sweep_page
from deploy.report.sweep import Job, JobRow, Sweep
from deploy.runtime.accuracy.evaluation import NotedScore
from tests.report.browser import browser, found_browser
from tests.report.samples import (
    EVIL,
    LONG,
    comparison,
    device_views,
    handover,
    long_placement,
    placement,
    report,
)

TEXTS = """[...document.querySelectorAll("#placement svg text")].map((text) => {
  const {left, right, top, bottom} = text.getBoundingClientRect();
  const drawing = text.ownerSVGElement.getBoundingClientRect();
  const within = left >= drawing.left && right <= drawing.right;
  return {left, right, top, bottom, within, words: text.textContent};
})"""
"""Where the texts of a placement's picture are."""

LOOKS = (Path(__file__).parent / "looks.js").read_text()
SCORES = (NotedScore("map", "boxes mAP@.5:.95", 0.5, 0.5),)
SECTIONS = {
    "run": ["chain", "agreement", "blame", "detections", "results", "scores", "latency", "run"],
    "devices": [
        *("chain", "agreement", "blame", "detections", "results", "scores", "latency", "devices"),
        "run",
    ],
    "demo": ["chain", "agreement", "detections", "latency", "run"],
    "sweep": ["jobs", "errors", "trade-off", "latency", "detections", "results", "run"],
}
WORDS = {
    "run": ["failed", "within", "beyond", "worst of all", "to blame", "1 missing, 1 extra"],
    "devices": ["not on every device", "slowed down by heat", "not measured", "desk", "pi"],
    "demo": ["passed", "within", "nearest to its bound", "backbone", "p99"],
    "sweep": ["failed", "passed", "1 of 3 jobs failed", "what went wrong", "noise", "tied"],
}


@pytest.fixture(scope="module")
def page():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page_files(demo_run, tmp_path_factory) -> dict[str, Path]:
    """A page with every section and hostile names, that of a real run, and that of a sweep."""
    folder = tmp_path_factory.mktemp("pages")
    row = JobRow("words", backend="one", status="passed", size=1000, scores=SCORES)
    jobs = [Job(f"key={LONG}{number}", row, "0/r.html", report()) for number in range(2)]
    failed = Job(EVIL, JobRow("words", error=f"what went wrong: {EVIL} {LONG * 3}"))
    measured = comparison((1.0, 1.0, 1.1), (1.0, 3.0, 5.0), left_out=f"{EVIL} {LONG}")
    rows = rows_with_latency([*(job.row for job in jobs), failed.row], measured)
    shown = tuple(replace(job, row=row) for job, row in zip([*jobs, failed], rows, strict=True))
    sweep = Sweep(shown, "python -m deploy -m", "2026-01-02 03:04:05 UTC", measured)
    devices = run_page(report(devices=device_views(), problem=""))
    texts = {"run": run_page(report()), "devices": devices, "sweep": sweep_page(sweep)}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    shutil.copyfile(demo_run.work / WorkFile.REPORT_PAGE, folder / "demo.html")
    return {name: folder / f"{name}.html" for name in SECTIONS}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("name", SECTIONS)
def test_a_page_can_be_read(name, width, scheme, page, page_files):
    page.open(page_files[name], width, scheme)
    seen = page.run(LOOKS)
    assert seen["sections"] == SECTIONS[name] and seen["hidden"] == []
    assert seen["read"] > 40 and seen["faint"] == [], "contrast of at least 4.5"
    assert seen["sideways"] == 0 and seen["spilled"] == [], "the page never scrolls sideways"
    assert seen["nameless"] == [] and seen["landmarks"] == [] and seen["unscrolled"] == 0
    for word in WORDS[name]:  # what is read without any colour
        assert word in seen["text"]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_page_loads_nothing_and_complains_of_nothing(name, page, page_files):
    page.open(page_files[name], 1280, "light")
    asked = [address for address in page.requests if not address.startswith("data:")]
    assert asked == [page_files[name].resolve().as_uri()]
    assert page.complaints == []
    assert page.run("document.scripts.length") == 0
    pictures = page.run("[...document.querySelectorAll('image')].map(i => i.getBBox().width)")
    assert pictures and all(width > 0 for width in pictures)


@pytest.fixture(scope="module")
def placement_pages(tmp_path_factory) -> dict[str, Path]:
    """Pages of a model in seven segments, and of one in 24 with hostile names."""
    folder = tmp_path_factory.mktemp("placements")
    records = {"seven": placement(), "many": long_placement()}
    for name, record in records.items():
        less = report(placement=record, pictures=(), results=(), blame=None)
        (folder / f"{name}.html").write_text(run_page(less))
    return {name: folder / f"{name}.html" for name in records}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["seven", "many"])
def test_a_placement_can_be_read(name, width, scheme, page, placement_pages):
    page.open(placement_pages[name], width, scheme)
    seen = page.run(LOOKS)
    assert seen["sections"][1] == "placement" and seen["hidden"] == []
    assert seen["faint"] == [] and seen["sideways"] == 0 and seen["spilled"] == []
    assert seen["nameless"] == [] and seen["unscrolled"] == 0 and page.complaints == []
    texts = page.run(TEXTS)
    assert len(texts) > 25 and not [text["words"] for text in texts if not text["within"]]
    assert not [
        (one["words"], other["words"])
        for one, other in combinations(texts, 2)
        if min(one["right"], other["right"]) > max(one["left"], other["left"])
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 1.5
    ]
    assert min(text["bottom"] - text["top"] for text in texts) > 11, "large enough for a phone"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_hand_over_can_be_read(width, scheme, page, tmp_path):
    file = tmp_path / "handover.html"
    file.write_text(run_page(report(handover=handover(), pictures=(), results=(), blame=None)))
    page.open(file, width, scheme)
    seen = page.run(LOOKS)
    assert "handover" in seen["sections"] and seen["hidden"] == []
    assert seen["faint"] == [] and seen["sideways"] == 0 and seen["spilled"] == []
    assert seen["nameless"] == [] and seen["unscrolled"] == 0 and page.complaints == []
    for words in ("int main()", "called for each row", "Its author wrote no formula", "offset"):
        assert words.lower() in seen["text"].lower()


def test_the_checks_see_what_is_wrong(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<main><section id=a><p style='width:5000px;color:#aaa;background:#fff'>faint</p>"
        "<table><tr><th>no scope</table></section></main><script>console.log('heard')</script>"
        "<img src='https://example.invalid/x.png'>"
    )
    page.open(bad, 360, "light")
    seen = page.run(LOOKS)
    assert [one.split()[1] for one in seen["faint"]] == ["faint"]
    assert (seen["sideways"] > 1000 and seen["hidden"] == ["a"]) or seen["sideways"] > 1000
    assert len(seen["nameless"]) == 2 and seen["unscrolled"] == 1
    assert "header" in seen["landmarks"]
    assert any("heard" in one for one in page.complaints)
    assert any("example.invalid" in one for one in page.requests)


def test_a_missing_browser_fails(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(AssertionError, match="no browser: none of chromium, "):
        found_browser()
