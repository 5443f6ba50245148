"""A run of the demo model, and what its report has of it."""

from __future__ import annotations

import shlex

import numpy as np
from rich.console import Console

from backends.contract import Artifact, Dynamic, TensorSpec
from backends.error_metrics import ErrorMetrics
from deploy.pipeline import job
from deploy.pipeline.run import run_pipeline
from deploy.recipe.output_paths import RunPaths, WorkFile
from deploy.report.chain_diagram import chain_arrows, chain_boxes
from deploy.report.collect import collect_report, tensor_rows
from deploy.report.page import ReportError, read_report
from deploy.report.progress import Progress
from deploy.report.result_pictures import input_views
from deploy.runtime.accuracy.evaluation import NotedScore, noted_scores
from deploy.runtime.bundle.manifest import (
    FileEntry,
    HostStep,
    Manifest,
    PostStep,
    StateTensor,
    StepMetrics,
    TextStep,
    Verification,
    read_manifest,
)
from deploy.tasks.tokens.post import DecodeTokens
from tests.helpers.faulty_segments import torch_recipe


def manifest_of(*steps: Artifact, host: tuple[HostStep, ...] = (), **changes) -> Manifest:
    fields = {
        "model": "m", "classes": (), "inputs": (spec("x"),), "outputs": (spec("y"),),
        "steps": steps, "pre": None, "post": None, "sample": None, "tools": {},
        "files": {name: FileEntry("0", 5000, "engine") for one in steps for name in one.files},
        "verification": Verification("passed"), "host": host,
    }  # fmt: skip
    return Manifest(**{**fields, **changes})


def spec(name: str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, (1, Dynamic("n", 1, 10, 100)))


def engine(name: str, source: str, target: str, **changes) -> Artifact:
    return Artifact(name, "scaler", (f"{name}/f",), (spec(source),), (spec(target),), **changes)


def gap(step: str, max_rel: float, cosine: float = 1.0) -> StepMetrics:
    return StepMetrics(step, ErrorMetrics("t", max_rel, max_rel, cosine))


def test_the_report_of_the_demo_has_every_part(demo_run):
    report = read_report(demo_run.work)
    assert report is not None
    manifest = read_manifest(demo_run.bundle)
    assert (report.status, report.problem, report.model) == ("passed", "", "yolov3")
    assert [part.name for part in report.latency] == [
        "decode", "pre", "backbone", "neck", "head", "chain", "post", "total",
    ]  # fmt: skip
    assert all(part.p50 <= part.p90 <= part.p99 for part in report.latency)
    assert {row.step for row in report.parity} == {"backbone", "neck", "head", "chain"}
    assert len(report.parity) == len(manifest.verification.gaps)
    assert [row.worst for row in report.parity].count(True) == 1
    assert report.agreement and report.agreement.noun == "detections" and report.results == ()
    assert 0 < report.agreement.matched <= report.agreement.total
    assert [picture.file_name for picture in report.pictures] == ["scene_00.png", "scene_01.png"]
    assert report.environment.tools["torch"] and report.environment.created.endswith(" UTC")
    assert report.recipe["backend.name"] and report.recipe["bench.runs"] == 2


def test_the_command_can_be_typed_again(demo_run):
    report = read_report(demo_run.work)
    assert report is not None
    words = shlex.split(report.command)
    assert words[:3] == ["python", "-m", "deploy"] and "verify.images=2" in words


def test_the_page_is_beside_the_bundle_and_small_and_the_console_names_it(demo_run):
    assert not list(demo_run.bundle.rglob("report.*"))
    assert (demo_run.work / WorkFile.REPORT_PAGE).stat().st_size < 1_000_000
    assert "report      bundles/demo.work/report.html" in demo_run.printed


def test_boxes_have_backends_and_sizes_and_arrows_have_shapes_and_bytes(demo_run):
    report = read_report(demo_run.work)
    assert report is not None
    kinds = {box.key: box.kind for box in report.boxes}
    assert kinds["step:neck"] == "segment" and kinds["in:picture"] == "input"
    (backbone,) = (box for box in report.boxes if box.key == "step:backbone")
    assert "fp32" in backbone.lines[0] and "MB in 1 file" in backbone.lines[1]
    labels = [one.label for one in report.arrows if one.source == "step:backbone"]
    assert "backbone.0 float32[1, 64, 40, 40] 0.4 MB" in labels


def test_the_worst_tensor_is_the_one_nearest_to_its_own_bound():
    steps = (engine("a", "x", "t"), engine("b", "t", "y", precision="fp16"))
    gaps = (gap("a", 9e-4), gap("b", 9e-3), gap("chain", 1e-3))
    rows = tensor_rows(manifest_of(*steps, verification=Verification("passed", gaps)))
    assert [row.worst for row in rows] == [True, False, False]
    assert [row.runs_on for row in rows] == ["scaler, fp32", "scaler, fp16", "all of it"]
    assert all(row.within_tolerance for row in rows)


def test_no_tensor_is_the_worst_where_all_are_equal():
    equal = Verification("passed", (gap("a", 0.0), gap("chain", 0.0)))
    rows = tensor_rows(manifest_of(engine("a", "x", "y"), verification=equal))
    assert [row.worst for row in rows] == [False, False]


def test_an_infinite_gap_is_beyond_and_the_worst():
    gaps = (gap("a", 1e-9), gap("chain", float("inf"), -1.0))
    rows = tensor_rows(
        manifest_of(engine("a", "x", "y"), verification=Verification("failed", gaps))
    )
    assert [(row.within_tolerance, row.worst) for row in rows] == [(True, False), (False, True)]


def test_a_score_is_shown_where_both_have_it():
    notes = {"map": 0.5, "torch_map": 0.6, "map_50": 0.7, "detections": 4.0}
    verified = Verification("passed", notes=notes)
    post = PostStep("detect.yolo", ("y",), {})
    manifest = manifest_of(engine("a", "x", "y"), verification=verified, post=post)
    assert noted_scores(manifest) == (NotedScore("map", "boxes mAP@.5:.95", 0.5, 0.6),)


def test_a_border_between_precisions_says_what_is_converted():
    half = Artifact("b", "scaler", ("b/f",), (spec("t", "float16"),), (spec("y"),), "fp16")
    found = chain_arrows(manifest_of(engine("a", "x", "t"), half))
    assert "t float32[1, 1..100] 40 B, converted to float16" in [one.label for one in found]


def test_a_segment_that_a_host_step_calls_hangs_at_it():
    host = HostStep("loop", "my.loop", (spec("x"),), (spec("y"),), calls=("a",))
    manifest = manifest_of(engine("a", "t", "u"), host=(host,))
    found = [(one.source, one.target, one.label.split()[0]) for one in chain_arrows(manifest)]
    assert found == [
        ("in:x", "step:loop", "x"),
        ("step:loop", "step:a", "gives"),
        ("step:loop", "step:a", "gets"),
        ("step:loop", "out:y", "y"),
    ]
    assert ("step:loop", "host") in [(box.key, box.kind) for box in chain_boxes(manifest)]


def test_an_engine_that_the_device_builds_is_drawn_with_its_source():
    waiting = Artifact("a", "scaler", (), (spec("x"),), (spec("y"),), source=("a/s",))
    files = {"a/s": FileEntry("0", 5000, "source")}
    (_, box, _) = chain_boxes(manifest_of(waiting, files=files))
    assert box.lines[1] == "5.0 kB to be built on the device, 1 file"


def test_a_report_that_cannot_be_written_is_a_warning_and_the_bundle_stays(
    tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise ReportError("no room")

    monkeypatch.setattr(job, "write_report", fail)
    row = job.run_job("job", torch_recipe(), tmp_path / "b", tmp_path / "b.work").row
    assert row.status == "passed" and (tmp_path / "b" / "manifest.json").is_file()
    shown = capsys.readouterr()
    assert "warning: the bundle is written, its report is not: no room" in shown.err
    assert "report.html" not in shown.out


def test_a_model_of_tensors_has_a_report_without_pictures(tmp_path):
    recipe = torch_recipe()
    outcome = run_pipeline(
        recipe, RunPaths(tmp_path / "b", tmp_path / "w"), Progress(Console(quiet=True))
    )
    report = collect_report(outcome, recipe, [], "job", "command")
    assert report.pictures == () and report.agreement is None and report.latency == ()
    assert [box.kind for box in report.boxes] == ["input", "segment", "segment", "output"]


def test_a_state_is_drawn_as_what_goes_from_call_to_call():
    step = Artifact("cell", "scaler", ("cell/f",), (spec("x"), spec("h")), (spec("y"), spec("hn")))
    manifest = manifest_of(
        step,
        inputs=step.inputs,
        outputs=step.outputs,
        state=(StateTensor("h", "hn"),),
        initial_state="state.npz",
    )
    boxes = {box.key: box.lines for box in chain_boxes(manifest)}
    assert boxes["in:h"] == ("state of the last call",)
    assert boxes["out:hn"] == ("state for the next call",)
    assert boxes["in:x"] == boxes["out:y"] == ()
    arrows = [(arrow.source, arrow.target) for arrow in chain_arrows(manifest)]
    assert ("in:h", "step:cell") in arrows
    assert ("step:cell", "out:hn") in arrows


def test_a_text_goes_through_its_front_end_into_every_input():
    one = engine("one", "x", "y")
    manifest = manifest_of(
        one, text=TextStep("words", {"ids": "x"}), post=PostStep("tokens", ("y",), {})
    )
    boxes = [box.key for box in chain_boxes(manifest)]
    assert boxes == ["in:text", "text", "step:one", "post:tokens", "out:tokens"]
    arrows = [(arrow.source, arrow.target) for arrow in chain_arrows(manifest)]
    assert {("in:text", "text"), ("text", "step:one"), ("step:one", "post:tokens")} < {*arrows}
    assert {end for pair in arrows for end in pair} == {*boxes}


def test_results_of_inputs_without_a_picture_are_shown_in_words():
    step = DecodeTokens(end=0)
    expected = step.batch([np.array([[2, 1, 0], [1, 1, 0]])])
    actual = step.batch([np.array([[2, 1, 0], [1, 2, 0]])])
    first, second = input_views(expected, actual, ["end", "five", "forty"])
    assert (first.file_name, first.reference, first.chain) == ("sample input 1", "", "")
    assert (first.reference_lines, first.chain_lines, first.matched) == (
        ("forty five",), ("forty five",), True
    )  # fmt: skip
    assert (second.chain_lines, second.matched) == (("five forty",), False)
    assert input_views(expected, [], ()) == ()


def test_steps_of_several_engines_are_coloured_by_engine_in_the_order_of_preference():
    steps = (
        Artifact("a", "first", ("a/f",), (spec("x"),), (spec("t"),)),
        Artifact("b", "second", ("b/f",), (spec("t"),), (spec("u"),)),
        Artifact("c", "first", ("c/f",), (spec("u"),), (spec("y"),)),
    )

    def colours(*used: Artifact, prefer: tuple[str, ...] = ()) -> list[int]:
        boxes = chain_boxes(manifest_of(*used), prefer)
        return [box.colour for box in boxes if box.kind == "segment"]

    assert colours(*steps) == [1, 2, 1]
    assert colours(*steps, prefer=("second", "first")) == [2, 1, 2]
    assert colours(steps[0]) == [0], "one engine needs no colour"
