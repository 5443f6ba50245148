"""The scores of any task are columns of a sweep's tables."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

from backends.codec import from_json
from deploy.pipeline.sweep import write_rows
from deploy.report.console import plain_console
from deploy.report.sweep import JobRow, score_titles, sweep_table
from deploy.runtime.accuracy.evaluation import NotedScore

TOP_1 = NotedScore("top_1", "top-1 accuracy", 0.5, 0.75)
TOP_5 = NotedScore("top_5", "top-5 accuracy", 0.875, 1.0)
ROWS = [
    JobRow("m=a b=x", backend="x", status="passed", scores=(TOP_1, TOP_5)),
    JobRow("m=a b=y", backend="y", error="what went wrong"),
]


def test_files_have_a_column_for_each_score_of_chain_and_model(tmp_path):
    write_rows(tmp_path, ROWS)
    first, second = json.loads((tmp_path / "results.json").read_text())
    assert (first["top_1"], first["torch_top_1"], first["top_5"]) == (0.5, 0.75, 0.875)
    assert "scores" not in first and "top_1" not in second
    with (tmp_path / "results.csv").open() as file:
        cells = [(row["top_1"], row["torch_top_5"]) for row in csv.DictReader(file)]
    assert cells == [("0.5", "1.0"), ("", "")]


def test_the_printed_table_has_the_first_score_and_the_page_the_first_two(capsys):
    plain_console().print(sweep_table(ROWS))
    printed = " ".join(capsys.readouterr().out.split())
    assert "top-1 accuracy" in printed and "0.500, model 0.750" in printed
    assert "top-5" not in printed
    assert score_titles(ROWS, most=2) == ["top-1 accuracy", "top-5 accuracy"]
    assert ROWS[1].score("top-5 accuracy") is None


def test_a_row_crosses_to_the_end_of_the_sweep_unchanged():
    row = ROWS[0]
    assert from_json(JobRow, json.loads(json.dumps(asdict(row))), "row") == row
