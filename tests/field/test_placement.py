"""Models divided between two engines: their commands, the figures of both runs, and the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backends.codec import to_json
from deploy.placement.record import PlacedBorder, PlacedRegion, PlacementRecord
from tests.field import outcome
from tests.field.campaign import Campaign
from tests.field.cli import MODELS
from tests.field.model_list import AUTO, CUT, ENGINES, WHOLE, Case, variants
from tests.field.outcome import Finished
from tests.field.placement import HEADER, Placement, placement_row, read_placement
from tests.field.report import placements

BORDER = PlacedBorder("h", "float32[1, 8]", 32, "part0", "part1", "Conv 'c'", "no kernel")
RECORD = PlacementRecord(
    ("ncnn", "onnxruntime"),
    (
        PlacedRegion("part0", "onnxruntime", 2, 100, (("Gather", 2),), "Gather 'a'", "Gather 'b'"),
        PlacedRegion("part1", "ncnn", 5, 900, (("Conv", 5),), "Conv 'c'", "Conv 'd'"),
    ),
    (BORDER, replace(BORDER, target="part2"), replace(BORDER, tensor="g", size=8)),
    (),
    trials=3,
    seconds=4.0,
)
FIGURES = Placement(7, 0.9, 2, 1, 40, 3, True, 4.25, 9.5)


def write_report(
    path: Path, record: PlacementRecord | None = RECORD, seconds: float = 4.25
) -> Path:
    """A report as a run leaves it."""
    stages = [{"name": "export", "seconds": 5.25}, {"name": "placement", "seconds": seconds}]
    path.parent.mkdir(parents=True, exist_ok=True)
    placement = None if record is None else to_json(record)
    path.write_text(json.dumps({"placement": placement, "stages": stages}))
    return path


def test_a_model_is_divided_between_an_engine_and_the_one_that_takes_the_rest():
    model = MODELS["unet"]
    assert variants(model, "ncnn") == (WHOLE, CUT, AUTO)
    assert variants(replace(model, cuts=()), "openvino") == (WHOLE, AUTO)
    assert variants(model, "onnxruntime") == (WHOLE, CUT)
    assert Case(model, "ncnn", AUTO).prefer == ("ncnn", "onnxruntime")
    assert Case(model, "ncnn", WHOLE).prefer == ("ncnn",)


def test_the_figures_are_those_of_the_report(tmp_path):
    assert read_placement(write_report(tmp_path / "report.json"), "ncnn") == FIGURES


def test_a_run_without_a_report_or_a_placement_has_no_figures(tmp_path):
    assert read_placement(tmp_path / "report.json", "ncnn") is None
    assert read_placement(write_report(tmp_path / "report.json", None), "ncnn") is None


def test_a_row_has_a_cell_for_each_column():
    columns = HEADER.count("|")
    warm = FIGURES.with_second_run(replace(FIGURES, cold=0.5))
    row = placement_row("net", "encoder", "ncnn", "passed", "1.0e-07", warm)
    assert row.count("|") == columns
    assert "| 90.0 % | 1 of 2 | 0.0 | 3 | 4.2 | 0.5 | 1.0e-07 |" in row
    spent = placement_row("net", "encoder", "ncnn", "passed", "", replace(FIGURES, complete=False))
    assert "3 (at its bound)" in spent
    assert placement_row("net", "encoder", "ncnn", "refused", "", None).count("|") == columns


@dataclass(frozen=True)
class Rehearsal(Campaign):
    """A campaign whose commands only leave their files.

    Attributes:
        planned: seconds that each deployment in turn takes to plan.
        commands: that were run, with the folder of their stages.
    """

    planned: Sequence[float] = (4.25, 0.5)
    commands: list[tuple[list[str], Path]] = field(default_factory=list)

    def _finished(self, command: Sequence[str], log: Path, stages: Path) -> Finished:
        deployments = sum("deploy" in words for words, _ in self.commands)
        self.commands.append((list(command), stages))
        if "deploy" not in command:
            return Finished(0, json.dumps({"max_rel": 1e-6, "place": ""}), "")
        if deployments >= len(self.planned):
            return Finished(1, "", "error: tensor 'x' is lost. Cut there.")
        folder = log.parent
        write_report(folder / "bundle.work/report.json", seconds=self.planned[deployments])
        (folder / "bundle").mkdir(exist_ok=True)
        manifest = {"verification": {"status": "passed", "gaps": []}}
        (folder / "bundle/manifest.json").write_text(json.dumps(manifest))
        return Finished(0, "", "")


def test_a_divided_model_is_deployed_twice_with_stages_of_its_own(tmp_path):
    campaign = Rehearsal(tmp_path, tmp_path / "cache", 60, True)
    result = campaign.run(Case(MODELS["unet"], "ncnn", AUTO))
    first, second, real = campaign.commands
    assert first == second
    assert {"+partition=auto", "partition.prefer=[ncnn,onnxruntime]"} <= set(first[0])
    assert not any(word.startswith("+backend") for word in first[0])
    assert first[1] == real[1] == tmp_path / "cases/unet-ncnn-auto/stages"
    assert (result.verdict, result.real) == (outcome.PASSED, 1e-6)
    assert result.placement == FIGURES.with_second_run(replace(FIGURES, cold=0.5, cold_total=5.8))
    assert "| unet | segmenter | 7 | ncnn | passed |" in placements([result])


def test_a_second_run_that_fails_is_told(tmp_path):
    campaign = Rehearsal(tmp_path, tmp_path / "cache", 60, True, planned=(4.25,))
    result = campaign.run(Case(MODELS["unet"], "ncnn", AUTO))
    assert result.verdict != outcome.PASSED
    assert "tensor 'x' is lost" in result.text


@pytest.mark.parametrize("engine", ENGINES)
def test_other_variants_are_deployed_once_and_share_their_stages(tmp_path, engine):
    campaign = Rehearsal(tmp_path, tmp_path / "cache", 60, True)
    result = campaign.run(Case(MODELS["unet"], engine, WHOLE))
    assert [stages for _, stages in campaign.commands] == [tmp_path / "stages"] * 2
    assert f"+backend={engine}" in campaign.commands[0][0]
    assert placements([result]) == ""
