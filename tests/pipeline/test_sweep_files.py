"""The files of a sweep: a spreadsheet takes no cell for a formula, and numbers stay numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from deploy.pipeline.sweep import write_rows
from deploy.report.sweep import DeviceRow, JobRow

FORMULA = '=HYPERLINK("http://example.org","x")'
STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]


def cells(folder: Path, row: JobRow) -> dict[str, str]:
    write_rows(folder, [row])
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        (read,) = csv.DictReader(file)
    return read


@pytest.mark.parametrize("start", STARTS)
def test_a_text_that_could_be_a_formula_is_marked_as_text(start, tmp_path):
    text = start + FORMULA[1:]
    row = JobRow(text, model=text, backend=text, bundle=text, error=text)
    read = cells(tmp_path, row)
    for name in ("job", "model", "backend", "bundle", "error"):
        assert read[name] == f"'{text}"
    (kept,) = json.loads((tmp_path / "results.json").read_text())
    assert kept["model"] == text


def test_numbers_stay_numbers(tmp_path):
    read = cells(
        tmp_path, JobRow("-1.5", model="+2", backend="-1e-3x", p50_ms=-1.5, gap=-2e-7, size=0)
    )
    assert (read["p50_ms"], read["gap"], read["size"]) == ("-1.5", "-2e-07", "0")
    assert (read["job"], read["model"], read["backend"]) == ("-1.5", "+2", "'-1e-3x")


def test_other_texts_are_as_they_are(tmp_path):
    read = cells(tmp_path, JobRow("model=a backend=b", model="Ü猫", error='a, "b"\nc'))
    assert (read["job"], read["model"], read["error"]) == ("model=a backend=b", "Ü猫", 'a, "b"\nc')


def test_several_devices_have_columns_of_their_own(tmp_path):
    devices = (DeviceRow("pi", "passed", 5.5, 6.5, 1e-6), DeviceRow("board", "failed", error="x"))
    read = cells(tmp_path, JobRow("a=b", p50_ms=1.5, device="pi, board", devices=devices))
    assert (read["device"], read["p50_ms"]) == ("pi, board", "1.5")
    assert (read["pi_status"], read["pi_p50_ms"], read["pi_gap"]) == ("passed", "5.5", "1e-06")
    assert (read["board_status"], read["board_p50_ms"], read["board_error"]) == ("failed", "", "x")
    assert "devices" not in read


def test_a_name_that_is_no_text_at_all_is_written(tmp_path):
    assert cells(tmp_path, JobRow("\udcff"))["job"] == "\\udcff"
