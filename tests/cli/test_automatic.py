"""``+partition=auto``: from a model and preferred engines to a verified chain, or to one error."""

from __future__ import annotations

import json
import re

import pytest

from deploy.cli.compose import compose
from deploy.report.page import read_report
from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.sample import read_sample
from tests.helpers.commands import BACKENDS, output_of, run_here

if not {"ncnn", "onnxruntime"} <= set(BACKENDS):
    pytest.skip("ncnn or onnxruntime is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

NET = """
from torch import nn
from deploy.mark import mark


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, image):
        x = self.second(self.first(image).relu()).sigmoid()
        return self.classify(x.cumsum(2))

    @mark("head")
    def classify(self, x):
        x = self.second(x).relu()
        return self.last(self.second(x).tanh()).mean((2, 3))
"""
AUTO = ["+partition=auto", "partition.prefer=[ncnn,onnxruntime]", "partition.auto.min_nodes=2"]
MODEL = [
    "+model=module", "model.target=my_net:Net", "model.inputs={image: {shape: [1, 3, 16, 16]}}",
]  # fmt: skip


@pytest.fixture(scope="module")
def net_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("automatic")
    (folder / "my_net.py").write_text(NET)
    return folder


@pytest.fixture(scope="module")
def divided(net_folder):
    said = output_of(
        "deploy", *MODEL, *AUTO, "bench.runs=0", "bundle=bundle", "cache=cache", cwd=net_folder
    )
    return net_folder / "bundle", said


def test_an_operator_that_the_preferred_engine_lacks_goes_to_the_next(divided):
    manifest = read_manifest(divided[0])
    engines = [(step.name, step.backend) for step in manifest.steps]
    assert engines == [("part0", "ncnn"), ("part1", "onnxruntime"), ("part2", "ncnn")]
    assert manifest.verification.status == "passed"


def test_the_output_has_shares_and_what_was_not_taken(divided):
    assert re.search(r"^placement   ncnn: [\d.]+ % of multiply-adds, 2 segments", divided[1], re.M)
    assert "not taken   by ncnn: CumSum (1)" in divided[1]
    assert "agreement   max_rel" in divided[1] and "from PyTorch" in divided[1]
    assert "convert part1 (onnxruntime, fp32)" in divided[1]


def test_every_border_has_a_node_and_a_reason_in_the_report(divided):
    report = read_report(divided[0].with_name("bundle.work"))
    assert report is not None and report.placement is not None
    assert [border.node.split(" ")[0] for border in report.placement.borders] == ["CumSum"] * 2
    assert all(border.reason for border in report.placement.borders)


def test_the_chain_runs_from_its_bundle(divided):
    sample = read_sample(divided[0], read_manifest(divided[0]))
    with Pipeline.open(divided[0]) as pipeline:
        (found,) = pipeline.chain(sample.inputs).values()
    assert found == pytest.approx(next(iter(sample.outputs.values())), rel=1e-4, abs=1e-5)


def test_the_second_run_plans_with_what_the_first_learnt(divided, net_folder):
    said = output_of(
        "deploy", *MODEL, *AUTO, "bench.runs=0", "bundle=again", "cache=cache", cwd=net_folder
    )
    assert re.search(r"^placement +[\d.]+ s  from the cache$", said, re.M)
    assert "with what earlier runs had learnt" in said
    first, again = (read_manifest(net_folder / name) for name in ("bundle", "again"))
    assert again.steps == first.steps


def test_cuts_of_ones_own_stay_and_each_segment_is_divided(net_folder):
    said = output_of(
        "deploy", "inspect", "module", *MODEL[1:], *AUTO,
        "partition.cuts=[head:input]", "--json", cwd=net_folder,
    )  # fmt: skip
    placement = json.loads(said)["placement"]
    segments = [(region["segment"], region["engine"]) for region in placement["regions"]]
    assert segments == [("part0_0", "ncnn"), ("part0_1", "onnxruntime"), ("part1", "ncnn")]


def test_the_backend_of_the_command_line_has_its_options_among_the_preferred():
    words = ["+model=yolov3", *AUTO, "+backend=ncnn", "backend.precision=fp16"]
    recipe = compose(words)
    assert [engine.name for engine in recipe.partition.prefer] == ["ncnn", "onnxruntime"]
    assert [engine.precision for engine in recipe.partition.prefer] == ["fp16", "fp32"]


def test_an_engine_may_be_written_with_its_options():
    prefer = "partition.prefer=[{name: ncnn, options: {threads: 2}}, onnxruntime]"
    recipe = compose(["+model=yolov3", "+partition=auto", prefer])
    assert recipe.backend.options == {"threads": 2}
    assert recipe.partition.prefer[0] == recipe.backend


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["+partition=auto"],
            "partition.prefer: expected the backends to divide the model between, the preferred "
            "first, got none. Pass partition.prefer=[FIRST,SECOND]",
        ),
        (
            ["+partition=auto", "partition.prefer=[ncnn,nnnc]"],
            "backend: expected ncnn or onnxruntime or openvino",
        ),
        (
            ["+partition=auto", "partition.prefer=[ncnn,ncnn]"],
            "partition.prefer: expected each backend once, got ncnn twice",
        ),
        (
            ["+partition=auto", "partition.prefer=[ncnn,onnxruntime]", "+backend=openvino"],
            "+backend= with +partition=auto: expected one of partition.prefer (ncnn, onnxruntime)",
        ),
        (
            ["+partition=auto", "partition.prefer=[ncnn]", "partition.auto.min_nodes=0"],
            "partition.auto.min_nodes: expected 1 or more, got 0",
        ),
        (
            ["+partition=auto", "partition.prefer=[ncnn]", "partition.cuts=[nowhere]"],
            "unknown mark 'nowhere' in the cut at [nowhere]: expected head:input, head:output",
        ),
        (
            ["+backend=ncnn", "+partition.prefer=[ncnn,onnxruntime]"],
            "partition.prefer does nothing without +partition=auto. Pass that too.",
        ),
    ],
)
def test_bad_input_gets_one_error(words, error, net_folder):
    ended = run_here("deploy", *MODEL, *words, cwd=net_folder)
    assert ended.returncode == 1
    assert f"error: {error}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_nodes_that_no_preferred_engine_takes_are_listed(net_folder):
    ended = run_here("deploy", *MODEL, "+partition=auto", "partition.prefer=[ncnn]", cwd=net_folder)
    assert ended.returncode == 1
    assert "error: none of the engines ncnn takes 1 CumSum:\n  CumSum '" in ended.stderr
    assert "Add an engine that takes them to partition.prefer" in ended.stderr
    assert not [path for path in (net_folder / "bundles").iterdir() if path.suffix != ".work"]


def test_a_refused_operator_gets_the_words_that_divide_the_model(net_folder):
    ended = run_here("deploy", *MODEL, "+backend=ncnn", cwd=net_folder)
    assert ended.returncode == 1
    words = "+partition=auto partition.prefer=[ncnn,onnxruntime]"
    assert f"To give what it does not take to another engine: {words}\n" in ended.stderr


TWO_ENDS = """
from torch import nn


class TwoEnds(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, late, early):
        x = self.first(early).relu()
        y = self.second(x.cumsum(1)) + late
        return y.tanh(), x
"""


def test_inputs_and_outputs_keep_the_order_of_the_model(net_folder):
    (net_folder / "two_ends.py").write_text(TWO_ENDS)
    inputs = "{late: {shape: [4, 8]}, early: {shape: [4, 8]}}"
    output_of(
        "deploy", "+model=module", "model.target=two_ends:TwoEnds", f"model.inputs={inputs}",
        *AUTO, "partition.auto.min_nodes=1", "bench.runs=0", "bundle=two", cwd=net_folder,
    )  # fmt: skip
    manifest = read_manifest(net_folder / "two")
    assert len(manifest.steps) > 1
    assert [spec.name for spec in manifest.inputs] == ["late", "early"]
    assert [spec.shape for spec in manifest.outputs] == [(4, 8), (4, 8)]
    sample = read_sample(net_folder / "two", manifest)
    first, second = (sample.outputs[spec.name] for spec in manifest.outputs)
    assert abs(first).max() <= 1 and second.min() >= 0  # tanh, then relu
