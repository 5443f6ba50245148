"""Anybody's model, deployed from the command line: no code of ours, and often no code at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deploy.runtime.bundle.manifest import read_manifest
from tests.helpers.commands import BACKENDS, QUICK, error_of, output_of, run_here

ENCODER = """\
# @package _global_
defaults: [/model/module, _self_]
model:
  name: encoder
  target: transformers:BertModel
  params: {config: {target: "transformers:BertConfig", params: {hidden_size: 64, num_hidden_layers: 4, num_attention_heads: 4, intermediate_size: 128, vocab_size: 100, attn_implementation: eager}}}
  inputs: {input_ids: {shape: [1, 16], dtype: int64}, attention_mask: {shape: [1, 16], dtype: int64, range: [0, 1]}}
  marks: {first: {module: encoder.layer.0, at: input}, third: {module: encoder.layer.2, at: input}}
partition: {cuts: [first, third]}
"""  # noqa: E501

NETS = """\
import torch
from torch import nn


class Gate(nn.Module):
    # two inputs, two outputs
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, image, depth):
        both = self.one(image) * self.two(depth).sigmoid()
        return {"map": self.last(both), "mean": both.mean((2, 3))}


class Picker(nn.Module):
    # whole numbers and truth values, in and out
    def forward(self, numbers, keep):
        chosen = torch.where(keep, numbers, -numbers)
        return {"chosen": chosen, "large": chosen > 10}


class Keys(nn.Module):
    # results with the names of operators and inputs, and weights in half precision
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, image):
        y = self.head(self.body(image)).relu()
        return {"image": image, "conv2d": y.flip(1), "relu": y * 2}


def half():
    return Keys().bfloat16()


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.act = nn.Linear(8, 8), nn.GELU()

    def forward(self, x):
        return self.act(self.body(x))
"""
REWRITES = """\
import torch
from deploy.mark import mark_here
from deploy.rewrite import rewrite


@rewrite("nets.Slow.forward", when="torch>=2")
def forward(original, self, x):
    return torch.nn.functional.gelu(mark_here("inner", self.body(x)))
"""
IMAGE = "model.inputs={image: {shape: [1, 3, 8, 8]}}"
GATE = "model.inputs={image: {shape: [1, 3, 8, 8]}, depth: {shape: [1, 1, 8, 8]}}"


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    (tmp_path / "my" / "model").mkdir(parents=True)
    (tmp_path / "my" / "model" / "encoder.yaml").write_text(ENCODER)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "my_rewrites.py").write_text(REWRITES)
    return tmp_path


MINE = ("deploy", "--config-dir", "my", "code=transformers", "+model=encoder")


def module(name: str, *more: str) -> list[str]:
    return ["deploy", "+model=module", f"model.target=nets:{name}", "bundle=b", QUICK, *more]


def test_ten_lines_of_yaml_deploy_a_transformers_encoder_cut_between_its_layers(user_folder):
    assert len(ENCODER.splitlines()) <= 10
    words = [
        "deploy",
        "--config-dir",
        "my",
        "code=transformers",
        "+model=encoder",
        "bundle=b",
        QUICK,
    ]
    output_of(*words, "+backend=onnxruntime", cwd=user_folder)
    manifest = read_manifest(user_folder / "b")
    assert [step.name for step in manifest.steps] == ["part0", "part1", "part2"]
    assert [spec.name for spec in manifest.outputs] == ["last_hidden_state", "pooler_output"]
    assert manifest.verification.status == "passed"
    if "ncnn" in BACKENDS:
        output_of(*words, "+backend=ncnn", "+backend@chain.part0=onnxruntime", cwd=user_folder)
        manifest = read_manifest(user_folder / "b")
        assert [step.backend for step in manifest.steps] == ["onnxruntime", "ncnn", "ncnn"]
        assert manifest.verification.status == "passed"
        assert "BAD" not in output_of("deploy.runtime", "check", "b", cwd=user_folder)


@pytest.mark.slow
def test_an_encoder_with_the_attention_that_transformers_chooses_is_deployed_whole(user_folder):
    text = ENCODER.replace(", attn_implementation: eager", "").replace("[first, third]", "[]")
    (user_folder / "my" / "model" / "encoder.yaml").write_text(text)
    output_of(*MINE, "+backend=onnxruntime", "bundle=b", "bench.runs=0", cwd=user_folder)
    assert read_manifest(user_folder / "b").verification.status == "passed"


def test_what_an_engine_cannot_take_is_said_and_not_tried(user_folder):
    if "ncnn" not in BACKENDS:
        pytest.skip("is about an engine that knows float32 alone")
    words = [
        "deploy",
        "--config-dir",
        "my",
        "code=transformers",
        "+model=encoder",
        "bundle=b",
        "+backend=ncnn",
    ]
    ended = run_here(*words, cwd=user_folder)
    assert ended.returncode == 1 and not (user_folder / "b").exists()
    assert "segment 'part0': its tensors are float32: 'input_ids' int64[1, 16]" in ended.stderr


def test_batch_and_length_of_an_encoder_may_both_vary(user_folder):
    output_of(
        *MINE, "+backend=onnxruntime", "bundle=b", QUICK,
        "model.inputs.input_ids.shape=[batch, length]",
        "model.inputs.attention_mask.shape=[batch, length]",
        "model.dynamic={batch: [1, 2, 4], length: [2, 16, 32]}", cwd=user_folder,
    )  # fmt: skip
    last = read_manifest(user_folder / "b").steps[-1]
    assert str(last.outputs[0]) == "float32[1..4, 2..32, 64]"


def test_a_model_that_runs_another_way_on_the_sample_than_its_export_says_so(user_folder):
    error = run_here(
        *MINE, "+backend=onnxruntime", "bundle=b",
        "model.inputs.attention_mask.range=[1, 1]", cwd=user_folder,
    ).stderr  # fmt: skip
    assert "does not reach 'first:input.attention_mask' when it runs on the sample" in error
    assert "Choose other samples with model.inputs.NAME.range" in error


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_inputs_and_two_outputs_cut_by_marks_in_yaml(user_folder, backend):
    marks = "model.marks={one: {module: one}, two: {module: two, at: both}}"
    cut = "partition.cuts=[[one, two]]"
    output_of(*module("Gate", GATE, marks, cut, f"+backend={backend}"), cwd=user_folder)
    manifest = read_manifest(user_folder / "b")
    assert [spec.name for spec in manifest.inputs] == ["image", "depth"]
    assert [spec.name for spec in manifest.outputs] == ["map", "mean"]
    assert [spec.name for spec in manifest.steps[1].inputs] == ["one", "two"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_keep_their_keys_whatever_has_that_name_in_the_graph(user_folder, backend):
    marks = "model.marks={body: {module: body}}"
    words = ["model.dtype=float32", marks, "partition.cuts=[body]", f"+backend={backend}"]
    output_of(*module("half", IMAGE, *words), cwd=user_folder)
    manifest = read_manifest(user_folder / "b")
    assert sorted(spec.name for spec in manifest.outputs) == ["conv2d", "image", "relu"]


@pytest.mark.parametrize(
    ("target", "file"), [("torch.jit:load", "net.pt"), ("torch.export:load", "net.pt2")]
)
@pytest.mark.filterwarnings("ignore")
def test_files_of_torchscript_and_of_torch_export_deploy_by_the_function_that_loads_them(
    user_folder, target, file
):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    torch.jit.save(torch.jit.script(net), user_folder / "net.pt")
    program = torch.export.export(net, (torch.rand(1, 3, 8, 8),))
    torch.export.save(program, user_folder / "net.pt2")
    words = ["deploy", "+model=module", f"model.target={target}", "bundle=b", QUICK, IMAGE]
    words.append("+backend=onnxruntime")
    output_of(*words, f"model.params={{f: {file}}}", cwd=user_folder)
    assert read_manifest(user_folder / "b").verification.status == "passed"
    error = run_here(*words, "model.params={f: nets.py}", cwd=user_folder).stderr
    assert f"model.target {target}(f='nets.py'): " in error
    assert "Traceback" not in error


def test_whole_numbers_and_truth_values_go_through_a_chain(user_folder):
    inputs = "model.inputs={numbers: {shape: [4], dtype: int64}, keep: {shape: [4], dtype: bool}}"
    output_of(*module("Picker", inputs, "+backend=onnxruntime"), cwd=user_folder)
    outputs = read_manifest(user_folder / "b").outputs
    assert [str(spec) for spec in outputs] == ["int64[4]", "bool[4]"]


def test_rewrites_hold_while_exporting_and_are_compared_with_what_they_replace(user_folder):
    words = module("Slow", "model.inputs={x: {shape: [1, 8]}}", "+backend=onnxruntime")
    rewritten = [*words, "model.rewrites=[my_rewrites]", "partition.cuts=[inner]"]
    output_of(*rewritten, cwd=user_folder)
    assert len(read_manifest(user_folder / "b").steps) == 2
    text = (user_folder / "my_rewrites.py").read_text()
    (user_folder / "my_rewrites.py").write_text(
        text.replace("self.body(x)))", "self.body(x)) + 1)")
    )
    error = run_here(*rewritten, cwd=user_folder)
    assert error.returncode == 1
    assert "segment 'part1' to onnxruntime" in error.stderr
    assert "does not agree at 'output'" in error.stderr


def test_a_mark_on_a_module_that_is_not_there_names_the_nearest(user_folder):
    error = error_of(
        *module("Gate", GATE, "+backend=onnxruntime", "model.marks={m: {module: lst}}"),
        cwd=user_folder,
    )
    assert "model.marks.m.module: expected the path of a module" in error
    assert "Did you mean last?" in error


def save_graph(path: Path) -> None:
    """Two convolutions whose batch the file leaves open."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 3, 8, 8] image) => (float[N, 2, 8, 8] map, float[N, 4] mean)
        {
          features = Conv <kernel_shape = [1, 1]> (image, w1)
          act = Relu(features)
          map = Conv <kernel_shape = [1, 1]> (act, w2)
          axes = Constant <value = int64[2] {2, 3}> ()
          mean = ReduceMean <keepdims = 0> (act, axes)
        }""")
    rng = np.random.default_rng(0)
    for name, shape in (("w1", (4, 3, 1, 1)), ("w2", (2, 4, 1, 1))):
        weights = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    onnx.save(model, path)


@pytest.fixture
def graph(user_folder: Path) -> Path:
    save_graph(user_folder / "net.onnx")
    return user_folder


FILE = ["deploy", "+model=onnx", "model.file=net.onnx", QUICK, "bundle=b"]
FIXED = "model.inputs={image: {shape: [1, 3, 8, 8]}}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plain_onnx_file_is_cut_by_the_names_of_its_tensors(graph, backend):
    printed = output_of(*FILE, FIXED, f"+backend={backend}", "partition.cuts=[act]", cwd=graph)
    assert "from the whole model in onnxruntime" in printed
    manifest = read_manifest(graph / "b")
    assert manifest.model == "net"
    assert [spec.name for spec in manifest.steps[1].inputs] == ["act"]
    assert [str(spec) for spec in manifest.outputs] == ["float32[1, 2, 8, 8]", "float32[1, 4]"]


def test_a_size_that_the_file_leaves_open_may_vary(graph):
    open_size = "model.dynamic={N: [1, 2, 4]}"
    cuts = (
        "partition.segments=[{name: a, start: [image], end: [act]},"
        "{name: b, start: [act], end: [map, mean], dynamic: {act: {0: [1, 1, 2]}}}]"
    )
    output_of(*FILE, open_size, cuts, "+backend=onnxruntime", cwd=graph)
    first, second = read_manifest(graph / "b").steps
    assert str(first.outputs[0]) == "float32[1..4, 4, 8, 8]"
    assert str(second.inputs[0]) == "float32[1..2, 4, 8, 8]"


def test_a_tensor_of_unknown_rank_crosses_a_border_where_the_engine_can(user_folder):
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2, 3] x, bool[3] keep) => (float[2, 3] y)
        <int64[3] sizes = {2, 3, 1}, int64[2] last = {2, 3}>
        {
          order = Compress <axis = 0> (sizes, keep)
          odd = Reshape(x, order)
          y = Reshape(odd, last)
        }""")
    onnx.save(model, user_folder / "net.onnx")
    words = [*FILE, "model.inputs={keep: {shape: [3], range: [1, 1]}}", "partition.cuts=[odd]"]
    output_of(*words, "+backend=onnxruntime", cwd=user_folder)
    first, second = read_manifest(user_folder / "b").steps
    assert str(first.outputs[0]) == str(second.inputs[0]) == "float32[...]"
    if "ncnn" in BACKENDS:
        ended = run_here(
            *words, "+backend=onnxruntime", "+backend@chain.part1=ncnn", cwd=user_folder
        )
        assert "ncnn's files are of fixed shape, and 'odd' is float32[...]" in ended.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "input 'image' of the file leaves the size 'N' open: expected its sizes, got none"),
        ([FIXED, "partition.cuts=[atc]"], "unknown tensor 'atc' in the cut at [atc]"),
        ([FIXED, "partition.cuts=[features, nothing]"], "unknown tensor 'nothing'"),
        ([FIXED, "model.params={a: 1}"], "model.params does nothing for an ONNX file"),
        (["model.inputs={imag: {shape: [1]}}"], "Did you mean image?"),
        (["model.inputs={image: {shape: [1, 4, 8, 8]}}"], "expected ['any', 3, 8, 8], got [1, 4"),
        (["model.file=none.onnx"], "model 'none.onnx': expected an ONNX file, got nothing"),
        (["model.file=nets.py"], "model 'nets.py' is not an ONNX file"),
    ],
)
def test_what_a_file_cannot_be_asked_for_is_one_error(graph, words, message):
    ended = run_here(*FILE, "+backend=onnxruntime", *words, cwd=graph)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert message in ended.stderr
    assert not (graph / "b").exists()


def test_a_file_whose_weights_lie_elsewhere_is_refused(graph):
    model = onnx.load(graph / "net.onnx")
    onnx.save(model, graph / "net.onnx", save_as_external_data=True, location="w", size_threshold=0)
    (graph / "other").mkdir()
    (graph / "w").rename(graph / "other" / "w")
    (graph / "w").symlink_to(graph / "other" / "w")
    error = error_of(*FILE, FIXED, "+backend=onnxruntime", cwd=graph)
    assert "external data of tensor 'w1' at 'w': expected a regular file" in error


@pytest.mark.parametrize("preset", ["end2end", "head_on_host", "head_in_engine", "by_stage"])
def test_the_presets_cut_the_detector_and_it_sees_the_same(tmp_path, preset):
    output_of(
        "deploy", "+model=yolov3", f"+partition={preset}", "+backend=onnxruntime", "bundle=b",
        "verify.images=2", "bench.runs=0", cwd=tmp_path,
    )  # fmt: skip
    manifest = read_manifest(tmp_path / "b")
    assert manifest.post is not None
    notes = manifest.verification.notes
    assert notes["detections_matched"] == notes["detections"] > 20
    names = {"end2end": ["model"], "by_stage": ["backbone", "neck", "head"]}
    assert [step.name for step in manifest.steps] == names.get(preset, ["yolov3"])


def test_a_preset_before_its_model_is_refused(tmp_path):
    error = error_of("deploy", "+partition=end2end", "+model=yolov3", "+backend=ncnn", cwd=tmp_path)
    assert "+partition= stands before the model" in error
