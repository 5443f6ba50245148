"""How a model was divided is told in lines, tables and a picture, with a reason for each border."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from backends.codec import from_json, to_json
from deploy.placement.record import MeasuredPlan, PlacementRecord
from deploy.report.console import TerminalConsole
from deploy.report.page import read_report, run_page, write_report
from deploy.report.placement import border_rows, format_share, placement_lines, print_placement
from deploy.report.placement_diagram import placement_svg
from deploy.report.run_result import RunResult, print_result
from deploy.runtime.bundle.manifest import read_manifest
from deploy.verify import Verdict
from tests.conftest import step
from tests.report.samples import EVIL, LONG, long_placement, placement, report

ALONE = replace(placement(), regions=placement().regions[1:2], borders=(), refused=(), notes=())


def printed(capsys, record: PlacementRecord, width: int = 80) -> str:
    print_placement(TerminalConsole(width=width), record)
    return capsys.readouterr().out


def svg_texts(record: PlacementRecord) -> tuple[str, str]:
    """What a picture says, and its tooltips."""
    root = ElementTree.fromstring(placement_svg("title", record))
    said, hovered = (
        [item.text or "" for item in root.iter(f"{{http://www.w3.org/2000/svg}}{tag}")]
        for tag in ("text", "title")
    )
    return "\n".join(said), "\n".join(hovered)


def test_the_short_form_has_engines_bytes_operators_and_the_search():
    assert placement_lines(placement()) == [
        "placement   ncnn: 95.0 % of multiply-adds, 3 segments, 288 nodes\n"
        "            onnxruntime: 5.0 % of multiply-adds, 4 segments, 43 nodes\n"
        "            8 tensors cross borders: 1.8 MB in one run\n"
        "            planned in 41.3 s with 9 trial conversions",
        "not taken   by ncnn: ReduceMax (3), Squeeze (2), CumSum (1), GRU (1), ReduceL2 (1)",
        "note        the input 'attention_mask' has a dynamic axis, which ncnn converts as 128",
    ]


def test_the_short_form_stays_short():
    regions = tuple(
        replace(placement().regions[0], segment=f"s{number}", engine=f"engine_{number}")
        for number in range(9)
    )
    refused = tuple(
        replace(placement().refused[0], operator=f"Operator{number}") for number in range(30)
    )
    many = placement(regions=regions, refused=refused, notes=("note",) * 9)
    text = "\n".join(placement_lines(many))
    assert len(text.splitlines()) <= 12
    assert "and 5 more engines" in text and "Operator5 (1) and 24 more" in text


def test_a_whole_model_in_one_engine_has_no_borders(capsys):
    text = "\n".join(placement_lines(ALONE))
    assert text.startswith("placement   ncnn: 100 % of multiply-adds, 1 segment, 96 nodes\n")
    assert "nothing goes from one segment to another" in text
    assert "border  " not in printed(capsys, ALONE) and "not taken" not in text
    page = run_page(report(placement=ALONE))
    assert "1 segment, 96 nodes" in page and "Not taken by" not in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"remembered": True, "trials": 0}, "planned in 41.3 s with what earlier runs had learnt"),
        ({"trials": 0}, "planned in 41.3 s without a trial"),
        ({"trials": 1}, "planned in 41.3 s with 1 trial conversion"),
        ({"complete": False}, "warning     The search for failing nodes reached its bound"),
    ],
)
def test_how_the_plan_was_found_is_told(changes, told):
    assert told in "\n".join(placement_lines(placement(**changes)))


def test_what_was_measured_is_told_the_plan_that_was_taken_first(capsys):
    plans = [("slow", 3, 30.0), ("broken", 2, None), ("as planned", 7, 12.3), ("fast", 5, 9.0)]
    measured = tuple(MeasuredPlan(*plan, taken=plan[0] == "as planned") for plan in plans)
    record = placement(measured=measured)
    lines = [line for line in placement_lines(record) if line.startswith("measured")]
    assert lines == [
        "measured    as planned (7 segments): 12.3 ms, taken",
        "measured    fast (5 segments): 9 ms",
        "measured    slow (3 segments): 30 ms",
    ]
    assert "measured: broken (2 segments): does not run" in printed(capsys, record)
    page = run_page(report(placement=record))
    assert "Measured beside others" in page and "does not run" in page and "12.3 ms" in page


def test_a_model_without_multiply_adds_is_shared_by_its_nodes():
    regions = tuple(replace(region, macs=0) for region in placement().regions)
    text = placement_lines(placement(regions=regions))[0]
    assert "ncnn: 87.0 % of nodes, 3 segments, 288 nodes" in text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1e-9, "< 0.1 %"), (0.9999, "> 99.9 %"), (1, "100 %")]
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(share, text):
    assert format_share(share) == text


def test_a_tensor_is_listed_once_for_all_its_readers_in_the_order_of_the_segments():
    rows = [(row.ends, row.tensor) for row in border_rows(placement())]
    assert rows[:3] == [("1 to 2", "hidden"), ("1 to 2, 4, 6", "mask"), ("2 to 3", "scores")]
    assert len(rows) == 8


def test_the_tables_have_everything_and_fit_80_columns(capsys):
    text = printed(capsys, placement())
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for part in (
        "engine multiply-adds segments nodes ncnn 95.0 % 3 288 onnxruntime 5.0 % 4 43",
        "4 encoder_4 ncnn 144 47.5 %",
        "1 to 2, 4, 6 65.5 kB mask float32[1, 1, 128, 128]",
        "CumSum 'node_cumsum' in module embeddings: ncnn has no CumSum",
        "(found by a trial)",
        "which is less than min_nodes=4",
        "8 tensors cross borders: 1.8 MB in one run",
        "the input 'attention_mask' has a dynamic axis",
    ):
        assert part in words


def test_long_and_hostile_names_keep_the_tables_whole(capsys):
    text = printed(capsys, long_placement())
    assert max(map(len, text.splitlines())) <= 80
    assert "1 to 24" in text and "warning: The search" in text and "[1, 256, 200, 304]" in text
    assert LONG in printed(capsys, long_placement(), width=300)


def test_the_picture_has_engines_shares_tensors_bytes_and_reasons():
    said, hovered = svg_texts(placement())
    for part in (
        "ncnn 95.0 % of multiply-adds",
        "4  encoder_4\nncnn\n144 nodes, 47.5 % of multiply-adds",
        "mask, to 2, 4 and 6\nfloat32[1, 1, 128, 128] 65.5 kB",
    ):
        assert part in said
    assert "GRU 'node_gru' in module encoder.layers.5.mixer: ncnn has no GRU" in hovered
    assert "MatMul 72, Add 48" in hovered and "from MatMul 'node_matmul_4'" in hovered


def test_a_picture_of_hostile_names_is_text_and_short():
    record = long_placement()
    assert "<script" not in placement_svg(EVIL, record)
    said, hovered = svg_texts(record)
    assert "24  encoder_24" in said and LONG not in said and LONG in hovered
    assert max(map(len, said.splitlines())) < 60


def test_a_border_of_a_host_step_is_in_the_table_and_not_in_the_picture():
    odd = replace(placement().borders[0], source="host_step")
    record = placement(borders=(odd, *placement().borders[1:]))
    assert border_rows(record)[0].ends == "host_step to 2"
    assert "hidden" not in svg_texts(record)[0]


@pytest.mark.parametrize("record", [placement(), long_placement(), ALONE])
def test_a_record_is_kept_in_the_report(record, tmp_path):
    assert from_json(PlacementRecord, json.loads(json.dumps(to_json(record))), "r") == record
    write_report(tmp_path, report(placement=record))
    assert read_report(tmp_path) == report(placement=record)


def test_a_page_has_the_section_only_where_the_planner_divided_the_model():
    assert 'id="placement"' not in run_page(report())
    page = run_page(report(placement=placement()))
    assert 'href="#placement"' in page and "How the model was divided" in page
    assert "CumSum &#39;node_cumsum&#39; in module embeddings: ncnn has no CumSum" in page
    incomplete = run_page(report(placement=placement(complete=False)))
    assert 'class="problem">The search for failing nodes' in incomplete


def test_a_run_prints_the_short_form_and_not_every_border(make_bundle, capsys):
    bundle = make_bundle([(step("one", "x", "t"), 2.0), (step("two", "t", "y"), 2.0)])
    manifest = read_manifest(bundle)
    result = RunResult(bundle, manifest, Verdict(manifest.verification, None), "PyTorch", None)
    print_result(TerminalConsole(width=200), [], result, None)
    before = capsys.readouterr().out
    print_result(TerminalConsole(width=200), [], replace(result, placement=placement()), None)
    after = capsys.readouterr().out
    assert "border   " in before and "placement" not in before
    assert "placement   ncnn: 95.0 %" in after and "border   " not in after
