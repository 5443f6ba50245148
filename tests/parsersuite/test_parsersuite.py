"""The check of NVIDIA's parser and builder: what it builds, that it goes on, that it can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import onnx
import pytest

from tests.cutsuite.own import own_cases
from tests.parsersuite import batches
from tests.parsersuite.batches import ROOT, environment, outcomes
from tests.parsersuite.log import Log
from tests.parsersuite.outcome import Outcome, Refusal, Task
from tests.parsersuite.packaged import task_of
from tests.parsersuite.report import report
from tests.parsersuite.shipped import Row
from tests.parsersuite.subgraphs import extracted

if "tensorrt_rtx" not in os.environ.get("DEPLOY_TEST_BACKENDS", "tensorrt_rtx").split(","):
    pytest.skip("tensorrt_rtx is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

ROW = Row("m, its own", "m", "its own", "head", "fp32", "static", "built", "", 7, 1234, 1.5)


def check(*arguments: str) -> str:
    """What the command prints; it runs without the doubles of this process."""
    command = ["env", *environment(), sys.executable, str(ROOT / "scripts" / "check-tensorrt")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def verdicts(log: Path) -> dict[str, str]:
    """The verdict of each segment and precision."""
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    rows = [entry["answer"] for entry in entries if entry["part"] == "shipped"]
    return {f"{row['segment']} {row['precision']}": row["verdict"] for row in rows}


@pytest.mark.slow
def test_the_demo_is_built_in_every_precision(tmp_path):
    log = tmp_path / "log.jsonl"
    demo = ("--model", "yolov3", "--preset", "its own", "--fixed")
    told = check("--part", "shipped", *demo, "--log", str(log))
    assert "| Segments of this repository | 3 of 3 built |" in told
    precisions = ("fp32", "fp16", "bf16")
    expected = {f"yolov3 {precision}": "built" for precision in precisions}
    assert verdicts(log) == expected
    assert "| yolov3 | its own | yolov3 | fp16 | static |" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "segments", "refused"),
    [
        (("--model", "seq2seq", "--preset", "its own"), ("embedding", "encoder", "decoder"), ()),
        (
            ("--model", "mask_rcnn", "--preset", "its own"),
            ("features", "box_head", "mask_head"),
            ("mask_head bf16",),
        ),
    ],
)
def test_the_segments_of_this_repository_are_built(tmp_path, words, segments, refused):
    log = tmp_path / "log.jsonl"
    check("--part", "shipped", *words, "--fixed", "--log", str(log))
    told = verdicts(log)
    assert told.keys() == {f"{s} {p}" for s in segments for p in ("fp32", "fp16", "bf16")}
    assert [name for name, verdict in told.items() if verdict != "built"] == list(refused)


@pytest.mark.slow
def test_models_that_nobody_here_wrote_are_built_or_refused_by_node(tmp_path):
    log = tmp_path / "log.jsonl"
    every = ("--part", "packaged", "--part", "own", "--limit", "6", "--log", str(log))
    told = check(*every)
    assert "2 of 6 built, 2 refused by the builder, 2 refused by the parser |\n" in told
    assert "| parser | Split | " in told
    asked = log.read_text()
    assert check(*every, "--resume") == told
    assert log.read_text() == asked, "something was asked twice"


def test_of_a_refused_graph_the_parts_without_the_refused_nodes_are_taken(tmp_path):
    (case,) = (case for case in own_cases() if case.name == "known_only_to_onnxruntime")
    (outcome,) = outcomes([task_of(case, tmp_path)])
    assert outcome.verdict == "refused by the parser"
    assert [refusal.operator for refusal in outcome.refusals] == ["QuickGelu"]
    assert outcome.nodes > outcome.listed == outcome.taken > 0
    assert outcome.groups == outcome.groups_taken > 0


def test_a_task_that_takes_too_long_is_named_and_the_next_is_answered(tmp_path):
    cases = {case.name: case for case in own_cases()}
    tasks = [task_of(cases[name], tmp_path) for name in ("twice", "deep", "foldable")]
    answers = [(outcome.name, outcome.verdict) for outcome in outcomes(tasks, seconds=2)]
    assert answers == [("twice", "built"), ("deep", "no end in time"), ("foldable", "built")]


def test_a_crash_costs_one_task(monkeypatch):
    monkeypatch.setattr(batches, "_CHILD", "tests.parsersuite.crashing_child")
    answers = list(outcomes([Task(name, "") for name in ("one", "crash", "two")]))
    assert [outcome.verdict for outcome in answers] == ["built", "crash", "built"]
    assert answers[1].why == "signal SIGSEGV: its last words"


def test_a_child_that_does_not_start_is_no_crash_of_a_model(monkeypatch):
    monkeypatch.setattr(batches, "_CHILD", "tests.parsersuite.nothing")
    with pytest.raises(RuntimeError, match=r"(?s)no process of .* starts: exit code 1.*No module"):
        list(outcomes([Task("one", "")]))


@pytest.mark.parametrize(
    ("origin", "got"),
    [("tests/simulator/site/double.py", ".*/tests/simulator/site"), ("", "nothing")],
)
def test_a_double_is_not_asked_in_place_of_the_library(monkeypatch, origin, got):
    found = ModuleSpec("double", None, origin=str(ROOT / origin)) if origin else None
    monkeypatch.setattr(batches, "find_spec", lambda name: found)
    with pytest.raises(SystemExit, match=rf"expected NVIDIA's library, got {got}"):
        batches.check_real()


def test_a_log_whose_last_line_is_incomplete_goes_on(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    log.add("own", "one", Outcome("one", "built", size=7))
    log.add("own", "two", Outcome("two", "built"))
    path.write_text(path.read_text()[:-20])
    again = Log(path)
    assert again.keys("own") == {"one"}
    again.add("own", "two", Outcome("two", "parsed"))
    assert [(each.name, each.verdict, each.size) for each in Log(path).answers("own", Outcome)] == [
        ("one", "built", 7),
        ("two", "parsed", 0),
    ]


def test_the_report_has_counts_and_every_reason_once():
    refusal = Refusal("UNSUPPORTED_NODE", 1, "d", "Det", "refused by checkDet")
    refused = [
        Outcome(name, "refused by the parser", "", (refusal,), nodes=3, listed=2, groups=1)
        for name in ("a", "b")
    ]
    tables = {"own": [*refused, Outcome("c", "built", layers={"UNARY": 2})]}
    text = report(
        [ROW, Row("n, by_stage", "n", "by_stage", verdict="no segments", why="no")], tables
    )
    assert "| m | its own | head | fp32 | static | 7 | 1,234 | 1.5 |" in text
    assert "| parser | Det | refused by checkDet | 2 | `a` |" in text
    assert "| nodes of the graphs that the parser refuses | 6 |" in text
    assert "- n, by_stage: no" in text
    assert "1 of 3 built, 2 refused by the parser |" in text


def test_nodes_become_a_model_with_what_they_read_and_what_leaves_them():
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        a = Neg(x)
        b = Add(a, w)
        y = Exp(b)
    }"""
    alone = extracted(onnx.parser.parse_model(text), [1])
    assert [node.op_type for node in alone.graph.node] == ["Add"]
    assert [value.name for value in alone.graph.input] == ["a"]
    assert [value.name for value in alone.graph.output] == ["b"]
    onnx.checker.check_model(alone)


def test_a_part_whose_border_has_no_known_type_is_no_model():
    text = """<ir_version: 10, opset_import: ["" : 21, "c" : 1]>
    g (float[2] x) => (float[2] y) { a = c.Own(x) \n y = Neg(a) }"""
    assert extracted(onnx.parser.parse_model(text), [1]) is None
