"""What a stranger may hand over is refused or taken; and the harness sees what is neither."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing import kept
from tests.fuzzing.campaign import Outcome
from tests.fuzzing.cases import case
from tests.fuzzing.ground import SAMPLE
from tests.fuzzing.report import Report, table, write_fault
from tests.fuzzing.seeds import KINDS, corpus
from tests.fuzzing.trees import Node, from_json, to_json
from tests.fuzzing.worker import Given

ROOT = Path(__file__).resolve().parents[2]
MUTANTS, SEED = "200", "1"

SEVERAL_FILES = ("bundle-run", "cache", "configuration")
HOLES = {
    "configuration": {"folders are not looked at": "escape fuzzing.canary"},
    "cache": {
        "seals are not compared": "somebody else's files were taken",
        "links are followed": "escape open to read",
    },
    "bundle-run": {
        "names lead away": "bundle/integrity.py:verify_files",
    },
}
PLANTED = {
    "accept": ("ok", ""),
    "refuse": ("refused", "DeployError"),
    "uncaught exception": ("raised", "KeyError"),
    "crash": ("crash", "SIGSEGV"),
    "abort": ("crash", "SIGABRT"),
    "exit": ("crash", "exit 0"),
    "hang": ("hang", "_wait_for_ever"),
    "hang in native code": ("hang", "planted"),
    "memory": ("memory", "MemoryError"),
    "native read": ("escape", "outside/canary.bin opened"),
    "read": ("escape", "open to read"),
    "read and crash": ("escape", "SIGSEGV"),
    "listing": ("escape", "os.listdir"),
    "read elsewhere": ("escape", "/etc/passwd"),
    "write beside": ("escape", "beside.txt was created"),
    "native write beside": ("escape", "planted.bin was created"),
    "native folder elsewhere": ("escape", "cases/planted was created"),
    "program": ("escape", "subprocess.Popen"),
    "shell": ("escape", "os.system"),
    "still works": ("ok", ""),
}


def fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz"), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def campaign(home) -> str:
    """What a short campaign prints; all kinds in one process, which imports much."""
    words = ("--mutants", MUTANTS, "--seed", SEED, "--forks", "--out", str(home))
    ended = fuzz(*words)
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("kind", SEVERAL_FILES)
def test_cases_of_a_kind_are_refused_or_accepted(kind, home):
    ended = fuzz(kind, "--mutants", "12", "--seed", "4", "--forks", "--out", str(home / "few"))
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "hole"), [(kind, hole) for kind in HOLES for hole in HOLES[kind]])
def test_a_hole_in_the_product_is_found(kind, hole, home):
    command = [sys.executable, "-m", "tests.fuzzing.planted_holes", str(home / "holes"), kind, hole]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert HOLES[kind][hole] in ended.stdout


@pytest.mark.slow
def test_a_campaign_goes_on_where_it_was_stopped(home):
    words = ("cache", "--out", str(home / "resumed"), "--resume")
    fuzz(*words, "--mutants", "5")
    journal = home / "resumed" / "cache" / "outcomes.jsonl"
    first = journal.read_text()
    journal.write_text(first + '{"number": 5, "verd')  # it was stopped while it wrote
    ended = fuzz(*words, "--mutants", "8")
    assert journal.read_text().startswith(first)
    assert "| cache | 8 |" in ended.stdout, ended.stdout + ended.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_no_mutant_gets_further_than_it_may(kind, campaign, home):
    assert (home / kind / "report.json").is_file(), campaign
    report = json.loads((home / kind / "report.json").read_text())
    assert not report["faults"], json.dumps(report["faults"], indent=1)
    verdicts = report["verdicts"]
    assert verdicts["ok"] + verdicts["refused"] == report["cases"] == int(MUTANTS)
    # a cache is refused as a whole, and else an entry counts as absent
    assert verdicts["ok"] > 5 and verdicts["refused"] > (0 if kind == "cache" else 5)


@pytest.mark.slow
def test_what_was_a_fault_once_is_none_now(home):
    assert kept.kinds()
    ended = fuzz("--kept", "--forks", "--out", str(home))
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_sort_of_fault_is_seen():
    command = [sys.executable, "-m", "tests.fuzzing.planted"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    for name, (verdict, place) in PLANTED.items():
        assert found[name][0] == verdict and place in found[name][1] + found[name][2], found[name]
    assert found.keys() == PLANTED.keys()


def test_a_case_is_the_same_each_time(home):
    seeds = corpus("manifest", home / "corpus")
    made = [case("manifest", 3, number, seeds, Path("/outside")) for number in (5, 6, 5)]
    assert made[0] == made[2] != made[1]


def test_faults_of_one_cause_are_told_once_and_written_with_their_bytes(tmp_path):
    report = Report("image")
    numbers = [
        number
        for number in range(4)
        if report.add(Outcome(number, "raised" if number else "ok", "KeyError here", "a story"))
    ]
    assert numbers == [1] and report.times == {"raised: KeyError here": 3}
    given = Given({"picture.bin": Node(b"bytes"), "link": Node(b"away", "link")}, "picture.bin", ())
    write_fault(tmp_path, report.faults["raised: KeyError here"], given)
    assert (tmp_path / "1" / "given" / "picture.bin").read_bytes() == b"bytes"
    assert "a story" in (tmp_path / "1" / "story.txt").read_text()
    assert "| image | 4 | 1 | 0 | 3 |" in table([report])


def test_a_kept_case_comes_back_as_it_was_on_another_ground():
    given = Given({"a": Node(f"{SAMPLE}/outside".encode(), "link"), "b": Node(b"\0")}, "", ())
    other = str(SAMPLE).replace("1", "9")
    back = from_json(json.loads(json.dumps(to_json(given.tree))), str(SAMPLE), other)
    assert back == {"a": Node(f"{other}/outside".encode(), "link"), "b": Node(b"\0")}


def test_coverage_can_choose_the_mutants(home):
    ended = fuzz("manifest", "--guided", "--seconds", "2", "--out", str(home))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "manifest: nothing found" in ended.stdout and "cov: " in ended.stderr
