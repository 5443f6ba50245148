"""A page says what was measured, in words too, and nothing that it is given becomes code."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from deploy.report import page as pages
from deploy.report.page import ReportError, run_page, sweep_page
from deploy.report.sweep import Job, JobRow, Sweep
from deploy.runtime.accuracy.evaluation import NotedScore
from tests.report.samples import EVIL, LONG, device_views, report

SCORES = (NotedScore("map", "boxes mAP@.5:.95", 0.5, 0.5),)
SECTIONS = ("chain", "agreement", "blame", "detections", "results", "scores", "latency", "run")


class Reader(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.given: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.given += attrs

    def handle_data(self, data):
        self.text += data


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def sweep(*jobs: Job) -> Sweep:
    return Sweep(jobs, f"python -m deploy -m 'key={EVIL}'", "2026-01-02")


def job(label: str, **changes: object) -> Job:
    row = JobRow("words", model="m", backend="one", status="passed", p50_ms=1.0, scores=SCORES)
    return Job(label, row, "0/b.work/report.html", report(**changes))


BAD = Job(EVIL, JobRow("words", error=f"what went wrong: {EVIL}"))


@pytest.mark.parametrize("text", [run_page(report()), sweep_page(sweep(job(EVIL), BAD))])
def test_hostile_names_are_text_and_never_elements(text):
    read = Reader(text)
    assert "script" not in read.tags
    assert "<script" not in text and "alert('1')" in read.text
    assert not [name for name, _ in read.given if name.startswith("on")]
    addresses = [value for name, value in read.given if name in ("href", "src") and value]
    assert all(one.startswith(("#", "data:image/", "0/")) for one in addresses)
    assert "default-src 'none'" in str(dict(read.given)["content"]) or "default-src" in text


@pytest.mark.parametrize("text", [run_page(report()), sweep_page(sweep(job("a")))])
def test_nothing_may_be_loaded_or_run(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1] and "script" not in policy[1]
    assert "img-src data:" in policy[1]


def test_a_page_has_a_section_for_everything_that_was_measured():
    assert sections(run_page(report())) == list(SECTIONS)


@pytest.mark.parametrize(
    ("changes", "gone", "told"),
    [
        (
            {"latency": (), "latency_rounds": (), "recipe": {"bench.runs": 0}},
            "latency",
            "bench.runs=20 on the command line",
        ),
        (
            {"latency": (), "latency_rounds": (), "recipe": {"bench.runs": 20}},
            "latency",
            "its sweep measures it at its end",
        ),
        ({"scores": ()}, "scores", "verify.eval=true on the command line"),
        ({"blame": None}, "blame", "python -m deploy blame bundles/"),
        ({"pictures": ()}, "detections", ""),
        ({"results": ()}, "results", ""),
    ],
)
def test_what_was_not_measured_is_no_section_and_how_to_get_it_is_told(changes, gone, told):
    text = run_page(report(**changes))
    assert sections(text) == [name for name in SECTIONS if name != gone]
    assert told in Reader(text).text
    assert ("Not in this report" in text) == bool(told)


def test_each_device_has_a_column_beside_that_of_the_desk():
    text = run_page(report(devices=device_views(), status="failed", problem=""))
    read = Reader(text)
    assert sections(text) == [*SECTIONS[:-1], "devices", "run"]
    head = text[text.index('<table class="devices">') :]
    assert re.findall(r'<th scope="col">(.*?)</th>', head)[:4] == ["figure", "desk", "pi", "board"]
    for said in (
        "not on every device.", "device 'board': <script>", "1 of 4", "0.2500", "model 0.7500",
        "slowed down by heat", "3.90 to 6.00", "0.75", "ondemand", "aarch64", "84 \N{DEGREE SIGN}C",
        "allowed: max_rel <= 0.001", "threads 2", "not measured",
    ):  # fmt: skip
        assert said in read.text, said
    assert "script" not in read.tags


def test_a_bundle_that_devices_have_verified_is_not_called_pending():
    pi = replace(device_views()[0], problem="")
    text = Reader(run_page(report(devices=(pi,), status="passed", problem="", pending=True))).text
    assert "the chain agrees with PyTorch on pi." in text
    assert "builds or verifies its engines there" not in text


def test_a_model_without_a_data_set_is_not_told_to_evaluate():
    assert "verify.eval" not in Reader(run_page(report(scores=(), has_dataset=False))).text


def test_a_bundle_whose_engines_the_device_builds_says_so_and_has_no_numbers():
    waiting = report(
        pending=True, status="not run", problem="", parity=(), pictures=(), blame=None,
        results=(), agreement=None, latency=(), scores=(),
    )  # fmt: skip
    read = Reader(run_page(waiting))
    assert sections(run_page(waiting)) == ["chain", "run"]
    assert "not measured" in read.text and "the device builds or verifies" in read.text
    assert f"python -m deploy.runtime build bundles/{LONG}" in read.text


def test_every_verdict_is_a_word():
    text = Reader(run_page(report())).text
    for word in ("failed", "within", "beyond", "worst of all", "to blame", "2 of 4"):
        assert word in text
    assert "does not agree with PyTorch" in text


def test_a_passed_run_says_that_it_agrees():
    text = Reader(run_page(report(status="passed", problem=""))).text
    assert "the chain agrees with PyTorch" in text and "does not agree" not in text


def test_infinite_gaps_are_shown():
    assert ">inf<" in run_page(report())


def test_latency_is_in_numbers_beside_its_bars():
    text = run_page(report())
    for number in ("1.50", "2.00", "3.00", "4.00"):
        assert f">{number}<" in text
    assert 'class="p50" style="width:50.00%"' in text  # 2 of 4 milliseconds


def test_results_that_are_no_detections_are_drawn_and_told_side_by_side():
    read = Reader(run_page(report()))
    assert f"{EVIL} 0.9" in read.text and "ant 0.8" in read.text
    assert "differs from PyTorch" in read.text
    assert run_page(report()).count('<img src="data:image/') == 2


def test_a_sweep_has_failed_jobs_with_their_errors_and_the_others_with_their_pages():
    text = sweep_page(sweep(job("threads=1"), job("threads=2"), BAD))
    assert sections(text) == ["jobs", "errors", "latency", "detections", "results", "run"]
    read = Reader(text)
    assert "1 of 3 jobs failed" in read.text and f"what went wrong: {EVIL}" in read.text
    assert "threads=1" in read.text and "threads=2" in read.text
    assert text.count('href="0/b.work/report.html"') == 2


def test_a_sweep_shows_a_picture_once_with_every_job_beside_the_reference():
    jobs = job("threads=1", results=()), job("threads=2", results=())
    text = sweep_page(sweep(*jobs))
    assert text.count("data:image/") == 1
    assert text.count('<use href="#picture0"/>') == 3


def test_a_sweep_has_the_tools_of_all_its_jobs():
    environment = report().environment
    other = job("b", environment=replace(environment, tools={"only-there": "7.0"}))
    read = Reader(sweep_page(sweep(job("a"), other))).text
    assert "only-there" in read and "numpy" in read


def test_a_sweep_of_failures_alone_has_a_page():
    assert sections(sweep_page(sweep(BAD))) == ["jobs", "errors", "run"]


def test_a_template_that_asks_for_what_is_not_there_fails():
    with pytest.raises(ReportError, match="cannot be rendered: UndefinedError: 'report' is undef"):
        pages._render("run.html", title="")
